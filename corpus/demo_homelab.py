"""The site homelab.example.org of the sample dump, in the form of the newest dumps.

Threads stand here as they are written, each with its answers of all years, so that the rows are
not in the order of their ids. The comment above a post names what it shows.
"""

from __future__ import annotations

from corpus.demo_posts import (
    HYSTERESIS,
    HYSTERESIS_2,
    KEEP_UTC,
    PUMP_RESET_2,
    Event,
    Link,
    Site,
    answer,
    closed,
    comment,
    edited,
    other,
    question,
    retitled,
    user,
)

_POSTS = (
    # No edit and a score far above 30: HQ. The answers of 2010 and 2016 make one thread that
    # spans partitions, and the later one overtakes the accepted one.
    question(
        4,
        "2010-02-09T19:41:05.310",
        2,
        "rsync emptied my backup because the disk was not mounted",
        "bash rsync backup",
        """\
<p>Every night a script mirrors the data disk to the backup disk:</p>

<pre class="lang-bash prettyprint-override"><code>#!/bin/bash
rsync -a --delete /mnt/data/ /mnt/backup/data/
</code></pre>

<p>Yesterday the data disk did not spin up. <code>/mnt/data</code> was an empty directory, and
<code>--delete</code> did what it says. How do I make the script stop when the source is not really
there?</p>
""",
        score=87,
        views=41210,
        accepted=5,
        comments=[
            comment("2010-02-09T19:50:33.447", 5, "`--max-delete=100` would have saved you.", 12),
        ],
    ),
    # Accepted, and called out of date by a later comment.
    answer(
        5,
        "2010-02-09T20:15:28.903",
        3,
        4,
        """\
<p>Ask the list of mounts before you copy:</p>

<pre class="lang-bash prettyprint-override"><code>if ! mount | grep -q ' on /mnt/data '; then
    echo "data disk is missing" &gt;&amp;2
    exit 1
fi
</code></pre>

<p>and put <code>set -e</code> at the top, so that nothing runs after a failure.</p>
""",
        score=241,
        comments=[
            comment("2010-02-10T06:03:51.220", 2, "Works, thank you!"),
            comment(
                "2016-02-21T11:09:47.583",
                4,
                "This no longer works with automounts, which `mount` lists before they are there. "
                "See the newer answer below.",
                23,
            ),
        ],
    ),
    # Six years later: the better answer, not accepted.
    answer(
        171,
        "2016-02-21T11:04:12.167",
        4,
        4,
        """\
<p>Since automounts came into use the list of mounts tells you little. Ask the kernel about the one
directory that matters:</p>

<pre class="lang-bash prettyprint-override"><code>mountpoint -q /mnt/data || exit 1
</code></pre>

<p>Better still, let the disk itself vouch for its content: keep a file <code>.this-is-data</code>
in its root and refuse to run without it. That also covers the day when you plug in the wrong
disk.</p>
""",
        score=64,
    ),
    # Closed as a duplicate of 4, never edited: LQ_CLOSE.
    question(
        180,
        "2016-05-15T20:47:59.613",
        10,
        "Mirror job wiped everything",
        "rsync",
        """\
<p>I copy a USB stick to the server once a week. Last time I had forgotten to plug it in, and now
both the copy and my weekend are gone. Is there a switch against that?</p>
""",
        score=-1,
        views=322,
        comments=[
            # An empty text: such comments exist.
            comment("2016-05-15T21:00:00.110", 8, ""),
        ],
        events=[closed("2016-05-16T05:31:20.937", 101, {3: "byte_mason", 4: "Kwame"}, 4)],
    ),
    # A Makefile, where a TAB is the whole point, with a hint at the language in a comment.
    question(
        18,
        "2011-06-14T08:22:17.750",
        10,
        'make says "missing separator", but the line looks right',
        "make tabs",
        """\
<p>Of these two rules only the first one works, though I typed them one after the other:</p>

<!-- language: lang-makefile -->

<pre><code>firmware.bin: main.c
\tavr-gcc -Os -o $@ $&lt;

flash: firmware.bin
        avrdude -p m328p -U flash:w:$&lt;
</code></pre>

<blockquote>
<p>Makefile:5: *** missing separator. Stop.</p>
</blockquote>
""",
        score=22,
        views=15033,
        comments=[
            comment("2011-06-14T08:25:39.917", 2, "Which editor? `:set list` shows it in vi.")
        ],
        accepted=19,
    ),
    # An answer that is mostly one line of code.
    answer(
        19,
        "2011-06-14T08:30:02.370",
        5,
        18,
        """\
<p>The second recipe begins with eight spaces; <code>make</code> wants a TAB. Look at it with</p>

<pre><code>cat -A Makefile
</code></pre>

<p>which shows a TAB as <code>^I</code>.</p>
""",
        score=40,
    ),
    # A title that would vanish if it were taken for HTML; edits of the title, too.
    question(
        37,
        "2012-03-02T14:55:38.477",
        7,
        "List<String> to Map<K,V> without writing the loop twice",
        "java collections generics",
        """\
<p>My inventory reads lines like <code>rack2=switch</code> into a <code>List&lt;String&gt;</code>.
I want a <code>Map&lt;String,Device&gt;</code> from it, and soon a second one with other
types:</p>

<pre class="lang-java prettyprint-override"><code>// inventory.txt: rack2=switch
Map&lt;String, Device&gt; devices = new HashMap&lt;String, Device&gt;();
for (String line : lines) {
    String[] pair = line.split("=", 2);

    devices.put(pair[0], Device.parse(pair[1]));
}
</code></pre>

<p>How can one method serve both, so that <code>K</code> and <code>V</code> are free?</p>
""",
        score=31,
        views=9804,
        accepted=38,
        first_title="convert list to map",
        comments=[
            comment(
                "2012-03-02T15:10:25.340", 6, "Is it always `List<String>`, never `List<?>`?", 1
            ),
        ],
        events=[retitled("2012-03-02T16:00:01.993", 6, "say what to what")],
    ),
    # Accepted in its time; overtaken by 133.
    answer(
        38,
        "2012-03-02T15:31:56.207",
        3,
        37,
        """\
<p>Pass the two conversions as objects:</p>

<pre class="lang-java prettyprint-override"><code>interface Function&lt;A, B&gt; { B apply(A a); }

static &lt;K, V&gt; Map&lt;K, V&gt; toMap(
        List&lt;String&gt; lines, Function&lt;String, K&gt; key, Function&lt;String, V&gt; value) {
    Map&lt;K, V&gt; map = new HashMap&lt;K, V&gt;();
    for (String line : lines) {
        map.put(key.apply(line), value.apply(line));
    }
    return map;
}
</code></pre>

<p>Anonymous classes are ugly at the call, but you write each of them once.</p>
""",
        score=18,
        comments=[
            comment(
                "2015-01-20T09:58:40.717", 9, "Outdated since Java 8, which brings its own.", 5
            ),
        ],
    ),
    # Overtakes 38; edited by its author in another licence period than it was written in.
    answer(
        133,
        "2015-01-20T09:45:13.080",
        9,
        37,
        """\
<p>From Java 8 on the library has the method that you are about to write:</p>

<pre class="lang-java prettyprint-override"><code>Map&lt;String, Device&gt; devices = lines.stream()
        .map(line -&gt; line.split("=", 2))
        .collect(Collectors.toMap(pair -&gt; pair[0], pair -&gt; Device.parse(pair[1])));
</code></pre>

<p>It throws on a key that occurs twice, which for an inventory is what you want.</p>
""",
        score=57,
        events=[edited("2018-09-11T10:01:44.323", 9, "what happens to keys that occur twice")],
    ),
    # Go, indented with TABs throughout.
    question(
        64,
        "2013-04-22T21:17:30.857",
        8,
        "Goroutine that reads from the UPS never ends",
        "go serial ups",
        """\
<p>The daemon asks the UPS for its charge. When I stop it, the goroutine stays in
<code>Read</code>:</p>

<pre class="lang-go prettyprint-override"><code>func poll(port io.Reader, charge chan&lt;- int) {
\tbuf := make([]byte, 64)
\tfor {
\t\tn, err := port.Read(buf)
\t\tif err != nil {
\t\t\treturn
\t\t}

\t\tcharge &lt;- parse(buf[:n])
\t}
}
</code></pre>

<p>How do I wake it up?</p>
""",
        score=13,
        views=2208,
        accepted=65,
    ),
    # A plain answer.
    answer(
        65,
        "2013-04-23T05:12:09.710",
        3,
        64,
        """\
<p>Close the port from outside: a blocked <code>Read</code> then returns with an error, and your
<code>return</code> is reached. Let the function that opened the port also be the one that closes
it.</p>
""",
        score=20,
    ),
    # SQL; the first place of the exact duplicate.
    question(
        88,
        "2013-11-03T09:26:41.383",
        6,
        "Daily energy totals are wrong since the clocks changed",
        "sql sqlite timezone",
        """\
<p>A meter writes one row a minute. This query was right all summer:</p>

<pre class="lang-sql prettyprint-override"><code>SELECT date(measured_at, 'localtime') AS day,
       sum(watts) / 60.0 AS watt_hours
FROM   reading
GROUP  BY day
HAVING count(*) = 1440
ORDER  BY day;
</code></pre>

<p>Last Sunday is missing from its result, and Saturday looks suspicious to me.</p>
""",
        score=9,
        views=1140,
    ),
    answer(89, "2013-11-03T11:02:56.040", 5, 88, KEEP_UTC, score=15),
    # Headings, keys to press, code that hints at its language; two answers. A bulk edit by user
    # -1 in 2020, after which the licence is still that of 2014.
    question(
        120,
        "2014-08-17T16:08:22.597",
        4,
        "A service starts before its network share is there",
        "systemd nfs boot",
        """\
<h3>What I have</h3>

<!-- language: lang-ini -->

<pre><code>[Unit]
Description=Photo index
After=network.target

[Service]
ExecStart=/usr/local/bin/photo-index /srv/photos
</code></pre>

<h3>What happens</h3>

<p>At boot it finds an empty directory and gives up. When I log in with
<kbd>Ctrl</kbd>+<kbd>Alt</kbd>+<kbd>F2</kbd> and start it by hand, all is well.</p>
""",
        score=19,
        views=6420,
        accepted=121,
        events=[
            Event(25, "2014-08-18T07:00:00.250", note="https://social.example.org/homelab/120"),
            edited("2020-06-18T08:31:05.540", -1, "Commonmark migration"),
        ],
    ),
    answer(
        121,
        "2014-08-17T17:20:10.103",
        3,
        120,
        """\
<p><code>network.target</code> only says that the network is being set up. Name the directory that
you need, and the right mount unit is pulled in and waited for:</p>

<pre class="lang-ini prettyprint-override"><code>[Unit]
RequiresMountsFor=/srv/photos
</code></pre>
""",
        score=33,
    ),
    # Without an owner id, as after the deletion of an account.
    answer(
        124,
        "2014-08-19T22:43:18.490",
        "user318",
        120,
        """\
<p>A loop of <code>sleep 5</code> until the folder has files in it does the same on machines
without systemd.</p>
""",
        score=-3,
        comments=[
            comment("2014-08-20T06:10:00.627", 5, "And waits for ever on an empty share.", 4)
        ],
    ),
    # The second place of the exact duplicate.
    question(
        150,
        "2015-10-25T08:12:54.270",
        10,
        "cron ran my nightly job twice",
        "cron timezone",
        """\
<p>The log of this night has the same job at 02:30 and again at 02:30, one hour apart. Nobody has
touched the crontab for a year. What is going on?</p>
""",
        score=7,
        views=930,
        accepted=151,
        events=[Event(52, "2015-10-26T12:00:00.143", -1)],
    ),
    answer(151, "2015-10-26T06:40:31.823", 5, 150, KEEP_UTC, score=12),
    # A tag wiki with a text, and its excerpt.
    other(
        160,
        5,
        "2015-12-05T13:30:00.517",
        6,
        """\
<p><strong>systemd</strong> starts and watches the services of most Linux machines. Say which
version you run: <code>systemctl --version</code>.</p>
""",
    ),
    other(161, 4, "2015-12-05T13:30:00.517", 6, "Units, timers and the order in which they start."),
    # Closed as unclear, never edited, by a user who is not in Users.xml: LQ_CLOSE.
    question(
        166,
        "2016-01-11T23:51:06.340",
        55,
        "server broken",
        "linux",
        """\
<p>it was fine yesterday and now it does not work any more, i changed nothing. i need it for
tomorrow. what should i do</p>
""",
        score=-6,
        views=97,
        events=[closed("2016-01-12T06:15:33.010", 103, {2: "Nadia Brandt", 5: "old_sparc"})],
    ),
    # Migrated from another site; a literal U+2581, which is also SentencePiece's sign for a space.
    question(
        201,
        "2016-11-27T12:34:56.787",
        9,
        "Sparkline in the prompt shows ▁▁▁▁ although the load changes",
        "bash unicode prompt",
        """\
<p>My prompt should show the load of the last minutes as ▁▂▃▅▇, but all bars have the same
height:</p>

<pre class="lang-bash prettyprint-override"><code>bars=(▁ ▂ ▃ ▄ ▅ ▆ ▇ █)
for load in 0.10 0.55 1.90; do
    printf '%s' "${bars[$(( load * 4 ))]}"
done
</code></pre>
""",
        score=16,
        views=1874,
        accepted=202,
        events=[
            Event(
                36,
                "2016-11-27T15:00:00.933",
                -1,
                "from https://gardens.example.org/questions/199/sparkline-in-the-prompt",
                "",
            ),
        ],
    ),
    answer(
        202,
        "2016-11-27T15:42:11.457",
        4,
        201,
        """\
<p>The shell only counts in whole numbers, so <code>0.55</code> is an error there and the index
stays empty, which means 0, and <code>${bars[0]}</code> is ▁. Take the load in hundredths, without
a point, from <code>/proc/loadavg</code>:</p>

<pre class="lang-bash prettyprint-override"><code>read -r load _ &lt; /proc/loadavg
centi=$(( 10#${load/./} ))
printf '%s' "${bars[$(( centi &gt; 200 ? 7 : centi * 7 / 200 ))]}"
</code></pre>
""",
        score=21,
    ),
    # The first place of the near-duplicate; code in Python, indented six levels deep.
    question(
        222,
        "2017-09-16T18:29:47.693",
        8,
        "Fan script jumps between two speeds all the time",
        "python fan-control",
        """\
<p>At 60&nbsp;°C my script sets the fan to full speed, and at 59&nbsp;°C back to half. In between
it changes its mind twice a second:</p>

<pre class="lang-py prettyprint-override"><code>while True:
    for zone in zones:
        if zone.enabled:
            for fan in zone.fans:
                if zone.celsius &gt;= 60:
                    if fan.speed != FULL:
                        fan.speed = FULL
                else:
                    fan.speed = HALF
    time.sleep(0.5)
</code></pre>
""",
        score=11,
        views=1322,
        accepted=223,
    ),
    answer(223, "2017-09-16T19:55:03.250", 7, 222, HYSTERESIS, score=24),
    # The second place of the near-duplicate.
    question(
        240,
        "2018-03-10T20:38:14.920",
        6,
        "Relay of the fermentation fridge chatters around the set point",
        "relay temperature",
        """\
<p>A probe hangs in the middle of a demijohn, and a relay cuts the fridge in at 18&nbsp;°C. Near
that temperature the relay clicks like a sewing machine. Is the probe too sensitive?</p>
""",
        score=8,
        views=760,
        comments=[
            comment(
                "2018-03-10T21:04:25.347", 5, "How far does the reading jump from one to the next?"
            ),
            comment("2018-03-10T21:40:11.603", 6, "By 0.06 °C, every other second.", 1),
        ],
        accepted=241,
    ),
    answer(241, "2018-03-11T08:01:39.177", 7, 240, HYSTERESIS_2, score=13),
    # Negative score, edits by two people, a rollback between them, still open: LQ_EDIT.
    question(
        265,
        "2019-02-03T11:53:27.407",
        10,
        "Container cannot reach another one by its name",
        "docker dns",
        """\
<p>Two containers run on one host. <code>ping web</code> from the first one says:</p>

<pre><code>ping: bad address 'web'
</code></pre>

<p>By its address it works. Where does Docker look names up?</p>
""",
        score=-1,
        views=143,
        first_title="docker ping doesnt work!!!",
        first_body="two containers. ping web says ping: bad address 'web' but with ip works?? "
        "where docker look names up",
        events=[
            edited("2019-02-03T12:20:15.063", 6, "layout", "Two containers. `ping web` fails."),
            Event(
                8,
                "2019-02-03T13:02:50.580",
                10,
                "Rollback to the first revision",
                "two containers. ping web says ping: bad address 'web' but with ip works?? "
                "where docker look names up",
            ),
            edited("2019-02-04T07:44:36.790", 4, "layout, and the message back in"),
            retitled("2019-02-04T07:44:36.790", 4, "layout, and the message back in"),
        ],
    ),
    # The near-duplicate across the sites; its twin is 301 on the other one.
    question(
        290,
        "2019-05-26T09:14:20.337",
        9,
        "ESP32 loses Wi-Fi whenever the pump starts",
        "esp32 power-supply",
        PUMP_RESET_2,
        score=4,
        views=408,
    ),
    # A table, as posts may have since the end of 2020; &amp;amp; and other odd entities.
    question(
        309,
        "2020-12-13T17:59:08.053",
        2,
        "Which of these disks should leave the pool first?",
        "zfs disks smart",
        """\
<p>Four disks, bought together, and one slot to spare:</p>
<div class="s-table-container">
<table class="s-table">
<thead>
<tr>
<th>Disk</th>
<th style="text-align: right;">Hours</th>
<th style="text-align: right;">Pending sectors</th>
</tr>
</thead>
<tbody>
<tr>
<td>left&nbsp;&amp;&nbsp;top</td>
<td style="text-align: right;">31&thinsp;204</td>
<td style="text-align: right;">0</td>
</tr>
<tr>
<td>left&nbsp;&amp;&nbsp;bottom</td>
<td style="text-align: right;">31&thinsp;198</td>
<td style="text-align: right;">16</td>
</tr>
</tbody>
</table>
</div>
<p>The two on the right are like the first. Do sixteen sectors mean anything yet?</p>
""",
        score=14,
        views=1519,
        accepted=310,
    ),
    # Rust, and a quotation in a quotation.
    answer(
        310,
        "2020-12-14T07:07:07.270",
        3,
        309,
        """\
<p>The one with the sixteen. You wrote:</p>
<blockquote>
<p>Do sixteen sectors mean anything yet?</p>
<blockquote>
<p>(the manual: &ldquo;replace when the count <em>rises</em>&rdquo;)</p>
</blockquote>
</blockquote>
<p>so watch the rise, not the number:</p>
<pre class="lang-rust prettyprint-override"><code>// true as soon as a count is above the last
fn should_replace(history: &amp;[u32]) -&gt; bool {
    history.windows(2).any(|pair| matches!(pair, [old, new] if new &gt; old))
}
</code></pre>
""",
        score=26,
    ),
    # Closed as too broad.
    question(
        322,
        "2021-03-28T10:30:45.110",
        10,
        "How do I build my own cloud?",
        "cloud planning",
        """\
<p>I want mail, photos, calendar, backups, films and a web shop for my aunt, safe and cheap. Please
describe all the steps, from buying the hardware on.</p>
""",
        score=-4,
        views=266,
        events=[closed("2021-03-28T12:12:30.767", 104, {3: "byte_mason", 7: "tessellate"})],
    ),
    # A runnable snippet of two languages, between its marks. Closed as off-topic.
    question(
        335,
        "2021-11-06T15:46:33.900",
        6,
        "Button on my dashboard needs two clicks",
        "javascript html",
        """\
<p>The lamp goes on at the second click only:</p>
<!-- begin snippet: js hide: false -->
<!-- language: lang-html -->
<pre class="snippet-code-html lang-html prettyprint-override"><code>&lt;h1&gt;Hall&lt;/h1&gt;
&lt;button id="lamp"&gt;lamp&lt;/button&gt;
</code></pre>
<!-- language: lang-js -->
<pre class="snippet-code-js lang-js prettyprint-override"><code>let on;
document.getElementById("lamp").onclick = () =&gt; {
  fetch(`/lamp?on=${on}`);
  on = !on;
};
</code></pre>
<!-- end snippet -->
""",
        score=0,
        views=112,
        comments=[
            comment("2021-11-06T16:00:52.473", 9, "`undefined` is what you send first.", 3),
            # An impossible date: this row goes to quarantine.
            comment("2021-02-31T10:00:00.000", 9, "The second time you send `true`."),
        ],
        events=[closed("2021-11-07T18:20:00.380", 102, {2: "Nadia Brandt", 9: "伊藤"})],
    ),
    # Personal data and secrets (of reserved ranges and documentation); an illegal character.
    question(
        350,
        "2022-06-21T22:05:16.643",
        7,
        "Log of the mail container is full of odd characters",
        "docker-compose mail yaml",
        """\
<p>This is the file, and a line of the log:</p>
<pre class="lang-yaml prettyprint-override"><code>services:
  mail:
    image: example/mail:3
    environment:
      RELAY_USER: nora.quist@mail.example.net
      AWS_ACCESS_KEY_ID: AKIAIOSFODNN7EXAMPLE

    ports:
      - "203.0.113.77:25:25"
</code></pre>
<pre class="lang-none prettyprint-override"><code>\x0e[warn] connect from unknown
</code></pre>
<p>Where does the first character come from? Write to nora.quist@mail.example.net if you know.</p>
""",
        score=3,
        views=391,
        accepted=351,
    ),
    answer(
        351,
        "2022-06-22T05:57:44.520",
        4,
        350,
        """\
<p>It is the control character <em>shift out</em>: the logger thinks that it writes to a terminal
and wants to draw a line. Set <code>TERM=dumb</code>. And edit your post, it shows a key!</p>
""",
        score=9,
    ),
    # Closed as a matter of opinion; a link with rel="nofollow", as on posts of low score.
    question(
        368,
        "2023-02-19T13:22:02.837",
        10,
        "Best case for twelve disks?",
        "hardware",
        """\
<p>I saw <a href="https://cases.example.org/twelve" rel="nofollow noreferrer">this one</a>, but is
it nice? Which one do you all like most?</p>
""",
        score=-2,
        views=175,
        events=[closed("2023-02-19T15:40:10.257", 105, {5: "old_sparc", 8: "quietfan"})],
    ),
    # HTML that talks about HTML: &amp;amp; has to come out as &amp;.
    question(
        381,
        "2023-10-07T19:03:28.163",
        9,
        "Why does my feed show &amp; instead of &?",
        "html escaping typescript",
        """\
<p>A headline such as &ldquo;Salt &amp; Pepper&rdquo; arrives in the reader as
&ldquo;Salt &amp;amp; Pepper&rdquo;. The template escapes once:</p>
<pre class="lang-ts prettyprint-override"><code>const escaped = new Map&lt;string, string&gt;([
  ["&amp;", "&amp;amp;"],
  ["&lt;", "&amp;lt;"],
]);

export const escape = (text: string): string =&gt;
  text.replace(/[&amp;&lt;]/g, (c) =&gt; escaped.get(c) ?? c);
</code></pre>
""",
        score=6,
        views=512,
        accepted=382,
    ),
    answer(
        382,
        "2023-10-08T08:34:50.987",
        6,
        381,
        """\
<p>Once in your template, and once more in the library that writes the feed. Text should be
escaped at one place only, the last one. Until you have found the other,
<code>&amp;amp;amp;</code> in the source is a good sign that you are on its track&#8230;</p>
""",
        score=10,
    ),
    # Nobody has answered, except the bot.
    question(
        399,
        "2024-03-05T06:48:39.613",
        8,
        "Label maker driver wants a printer that I threw away",
        "printing linux",
        """\
<p>The tape printer used to be set up next to a laser printer, which is gone. Every job for the
tape now waits for the laser. I have deleted all queues that I can see. Where else are they
written down?</p>
""",
        score=1,
        views=58,
        comments=[
            # By a user who has been deleted since.
            comment("2024-03-06T18:33:20.057", "user2201", "Have a look into `/etc/cups/ppd`.", 1),
        ],
    ),
    # By the answer bot, user -2: to be left out.
    answer(
        405,
        "2025-03-11T03:00:00.797",
        -2,
        399,
        """\
<p>Great question! There are several places where a print queue can be stored. Please check the
settings of your system and consult the manual of your printer.</p>
""",
        score=0,
    ),
    # A fabricated pair, as the dump of 2025-06-30 had one: not in PostHistory, to be left out.
    question(
        1_000_000_001,
        "2025-06-15T00:00:00.000",
        -1,
        "What is the sound of one disk spinning?",
        "disks",
        "<p>Asked for a friend who has only one disk and listens to it in the evening.</p>\n",
        score=1,
        views=1,
    ),
    answer(
        1_000_000_010,
        "2025-06-15T00:00:00.000",
        -1,
        1_000_000_001,
        "<p>About 28 decibels, says the data sheet, and the friend agrees.</p>\n",
        score=1,
    ),
)

HOMELAB = Site(
    name="homelab.example.org",
    dumped_at="2025-06-30T00:00:00.000",
    is_recent=True,
    posts=_POSTS,
    links=(
        # The duplicate of 4, which is also a plain link.
        Link("2016-05-15T21:02:44.350", post=180, related=4),
        Link("2016-05-16T05:31:20.937", post=180, related=4, kind=3),
        Link("2018-03-11T08:05:00.130", post=240, related=222),
        # To a post that is not in the dump, and from one.
        Link("2014-08-17T17:21:00.677", post=121, related=119),
        Link("2016-03-01T10:00:00.240", post=175, related=4),
    ),
    users=(
        user(-1, "2010-01-04T00:00:00.000", "Community", Location="on the server farm"),
        user(
            2,
            "2010-01-04T18:10:25.110",
            "Nadia Brandt",
            WebsiteUrl="https://nadia.example.org",
            Location="Leipzig",
            AboutMe="<p>Two racks & a cat.</p>\r\n<p>nadia@mail.example.net</p>\r\n",
        ),
        user(3, "2010-01-05T07:44:51.440", "byte_mason"),
        user(4, "2010-01-09T12:09:33.817", "Kwame", Location="Kumasi"),
        user(5, "2010-01-31T22:56:10.053", "old_sparc"),
        user(6, "2011-10-12T16:27:48.590", "Søren"),
        user(7, "2012-02-28T06:35:19.763", "tessellate"),
        user(8, "2013-04-22T20:58:02.287", "quietfan"),
        user(9, "2014-12-01T09:41:37.903", "伊藤"),
        user(10, "2011-06-14T08:19:46.120", "newcomer77"),
    ),
)
