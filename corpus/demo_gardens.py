"""The site gardens.example.org of the sample dump, in the form of the dumps up to mid-2020.

The comment above a post names what it shows; posts stand in the order of their ids.
"""

from __future__ import annotations

from corpus.demo_posts import (
    PUMP_RESET,
    VALVE_TEST,
    VALVE_TEST_2,
    VALVE_TEST_3,
    Event,
    Link,
    Site,
    answer,
    closed,
    comment,
    edited,
    other,
    question,
    reopened,
    retitled,
    suggested,
    user,
)

_POSTS = (
    # The oldest thread: a numbered list, an image with alt text, &nbsp;. A bulk edit by user -1 in
    # 2020 must change neither its licence (2.5) nor its being "without an edit by people".
    question(
        1,
        "2009-05-11T06:52:18.340",
        2,
        "How can I water twelve raised beds from one tap?",
        "irrigation valves planning",
        """\
<p>Our allotment has one tap and twelve raised beds, and from June on nobody is there on weekdays.
I would like to water the beds one after another, early in the morning:</p>

<ol>
<li>four tomato beds, ten minutes each</li>
<li>six beds of salad and herbs, four minutes each</li>
<li>two beds of squash that look after themselves, except in August</li>
</ol>

<p>The mains give 2.5&nbsp;bar. Is one controller with twelve cheap valves reasonable, or does
everybody end up with a few larger groups? This is what we have so far:</p>

<p><img src="https://i.example.org/Zr4Tq.png" alt="sketch: one tap, a filter, two rows of six
beds"></p>
""",
        score=34,
        views=18244,
        accepted=3,
        comments=[
            comment("2009-05-11T07:20:41.113", 3, "How long is the longest run of hose?", 2),
            comment("2009-05-11T07:31:09.880", 2, "@gus About 35 m, with a rise of *one* metre."),
        ],
        events=[edited("2020-06-18T08:30:22.127", -1, "Commonmark migration")],
    ),
    # Nested lists, and a score far above that of the accepted answer.
    answer(
        2,
        "2009-05-11T09:05:57.023",
        3,
        1,
        """\
<p>Group them. Every valve is one more thing that leaks in the third summer. I would build</p>

<ul>
<li>tomatoes: two valves
<ul>
<li>drippers of 2&nbsp;l/h, one a plant</li>
<li>a pressure reducer <em>before</em> the first dripper
<ul>
<li>1&nbsp;bar is plenty</li>
</ul></li>
</ul></li>
<li>salad and herbs: two valves, with soaker hose</li>
<li>squash: a can, and a neighbour who likes squash</li>
</ul>

<p>Four valves fit on any controller in the shop, and on one post beside the tap.</p>
""",
        score=51,
        comments=[
            comment("2009-05-11T17:02:44.870", 2, "The neighbour says *he* likes squash, too.", 5),
            comment("2016-04-30T08:19:13.237", 9, "Do drippers of 2 l/h get on with hard water?"),
        ],
    ),
    # Accepted with a low score; its author is deleted, so only a name is left.
    answer(
        3,
        "2009-05-12T18:44:02.457",
        "user40",
        1,
        """\
<p>One valve is enough if the beds get drippers of different size: the time is the same for all,
the amount is not. We ran a school garden of nineteen beds like that, from a kitchen timer.</p>
""",
        score=1,
    ),
    # Closed under an old reason id (4, not a real question), never edited, no answer: LQ_CLOSE.
    question(
        6,
        "2009-08-20T20:13:44.900",
        9,
        "plants dead why??",
        "plants",
        """\
<p>came back from holiday everything brown. what is the best thing to buy so that this never
happens again, please answer quickly, leaving on friday</p>
""",
        score=-4,
        views=301,
        comments=[
            comment("2009-08-20T21:02:10.060", 4, "Which plants, and how were they watered?")
        ],
        events=[
            closed("2010-01-08T10:11:12.130", 4, {4: "Mira Osei", 3: "greenhouse_gus", 8: "Tomek"})
        ],
    ),
    # A tag wiki without a body, as most are.
    other(7, 5, "2009-09-01T12:00:00.353", -1, ""),
    # TABs, blank lines and &lt; in code without a language; Greek and superscripts in prose.
    question(
        12,
        "2010-03-14T15:09:26.535",
        8,
        "Drip timer on an ATmega drifts by four minutes a week",
        "avr timer c",
        """\
<p>The sketch counts overflows of timer 2 and opens the valve at six in the morning. After a week
it opens at 6:04. The main loop is nothing special:</p>

<pre><code>volatile uint32_t ticks;

ISR(TIMER2_OVF_vect)
{
\tticks++;\t\t/* 8 MHz / 1024 / 256 &lt; 31 a second */

\tif (ticks == DAY) {
\t\tticks = 0;
\t\topen_valve();
\t}
}
</code></pre>

<p>Four minutes in a week are 400&nbsp;ppm. Is the internal oscillator really as bad as that?</p>
""",
        score=12,
        views=2950,
        accepted=13,
        comments=[
            # The Markdown of comments: inline code and a link.
            comment(
                "2010-03-14T15:40:00.017",
                4,
                "What does `OSCCAL` hold? See [the note on calibration](https://avr.example.org/053).",
                3,
            ),
        ],
    ),
    # Accepted; a power of two as <sup>, and code with TABs between the words of a line.
    answer(
        13,
        "2010-03-14T16:22:31.287",
        4,
        12,
        """\
<p>It is worse; you were lucky. Solder a watch crystal of 32768&nbsp;=&nbsp;2<sup>15</sup>&nbsp;Hz
to TOSC1 and TOSC2 and run the timer from that:</p>

<pre><code>ASSR\t|= _BV(AS2);\t/* asynchronous, from the crystal */
TCCR2B\t = _BV(CS22) | _BV(CS20);\t/* 32768 / 128 / 256 = 1 Hz */
</code></pre>

<p>A good crystal keeps to 20&nbsp;ppm, which is twelve seconds a week.</p>
""",
        score=19,
    ),
    # Community wiki.
    answer(
        15,
        "2010-03-16T08:00:45.600",
        3,
        12,
        """\
<p>Clock modules that people here have used with success; please add yours:</p>

<ul>
<li>the blue one with a coin cell, 5&nbsp;V only</li>
<li>the small one with its own temperature sensor, which is dear but keeps to 2&nbsp;ppm</li>
</ul>
""",
        score=6,
        events=[Event(16, "2010-03-16T08:00:45.600", 3)],
    ),
    # Asked in the last minutes of CC BY-SA 2.5; closed as a matter of opinion and reopened.
    question(
        21,
        "2011-04-07T23:57:40.090",
        6,
        "Will grey water clog a 0.3 mm drip line?",
        "irrigation filters",
        """\
<p>I collect the water of the shower in a barrel and would like to send it through a drip line with
holes of 0.3&nbsp;mm. Which kind of filter holds back hair and soap without a weekly cleaning?</p>
""",
        score=8,
        views=1207,
        comments=[comment("2011-04-09T12:48:05.520", 3, "0.3 mm is *very* thin. Why not 1 mm?", 2)],
        events=[
            closed("2013-07-01T09:00:10.440", 105, {7: "leafcutter", 8: "Tomek"}),
            reopened("2013-07-03T17:26:55.007", {4: "Mira Osei", 6: "王小明"}),
        ],
    ),
    # Answered in the first minutes of CC BY-SA 3.0; a quotation in the old form of the rendering.
    answer(
        22,
        "2011-04-08T00:06:12.733",
        4,
        21,
        """\
<p>None, I fear. The leaflet of mine said</p>

<blockquote>
  <p>suitable for clear water; rinse the mesh daily if in doubt</p>
</blockquote>

<p>and the doubt came on the second day. A bucket of gravel in front of the mesh made it
monthly.</p>
""",
        score=11,
    ),
    # The rare kind 3: a tag wiki whose tag is gone.
    other(30, 3, "2011-06-20T11:30:09.193", 7, "<p>For hoses that are wound up.</p>\n"),
    # No edit and a score of 30 or more: HQ. Indices as <sub>, &nbsp; before a unit.
    question(
        41,
        "2012-02-18T10:24:50.410",
        4,
        "Why does my soil moisture sensor read 41 % whatever I do?",
        "sensors soil",
        """\
<p>A resistive probe in the pepper bed has shown 41&nbsp;% since Tuesday. I watered, I did not
water, I pulled it out and held it in the air: 41&nbsp;%. The voltage at the converter is steady
at V<sub>ref</sub>/2, which looks more like a wiring fault than like soil.</p>

<p>How do I find out whether the probe, the cable or the converter is at fault, with nothing but a
multimeter?</p>
""",
        score=45,
        views=22051,
        accepted=42,
    ),
    # Headings and a ruler between two parts of an answer.
    answer(
        42,
        "2012-02-18T12:01:33.977",
        2,
        41,
        """\
<h2>Find the part</h2>

<p>Unplug the probe and measure at the open end of the cable. If the display still says 41, the
converter is floating, and no probe in the world would help. If it drops to zero, the probe is
corroded: with direct current through wet soil one of the two legs dissolves within weeks.</p>

<hr>

<h2>Keep it from happening again</h2>

<p>Power the probe from an output pin, only for the few milliseconds of a reading.</p>
""",
        score=29,
        comments=[
            # A comment that calls the answer out of date: a candidate for the obsoletion set.
            comment(
                "2018-11-02T19:15:00.563",
                6,
                "Resistive probes are obsolete by now; a capacitive one does not corrode at all.",
                7,
            ),
        ],
    ),
    # Negative score, edited twice by other people, still open: LQ_EDIT.
    question(
        66,
        "2012-07-09T13:37:05.120",
        9,
        "Timer switches the pump off after one second",
        "timer pump",
        """\
<p>I bought a timer for the fountain pump. When I set it to fifteen minutes, it switches the pump
off after one second. Does it need another kind of pump?</p>
""",
        score=-2,
        views=188,
        first_title="timer not work!!",
        first_body="hi all,\ni buy timer for the fountain pump , set 15 min , goes off after 1s\n\n"
        "need other pump??? plz help thx",
        events=[
            edited(
                "2012-07-09T14:00:21.700",
                4,
                "removed greetings",
                "I bought timer for the fountain pump. Set to 15 min it goes off after 1 sec.\n\n"
                "Does it need other pump?",
            ),
            retitled("2012-07-10T06:12:48.057", 3, "a title that says what happens"),
            edited("2012-07-10T06:12:48.057", 3, "grammar"),
            suggested("2012-07-10T06:12:48.057", 3, 4),
        ],
    ),
    # By a user who is not in Users.xml; a line break as <br>.
    answer(
        67,
        "2012-07-10T09:50:30.243",
        31,
        66,
        """\
<p>The dial has two rings:<br>
the outer one sets minutes,<br>
the inner one seconds. You have turned the inner one.</p>
""",
        score=3,
    ),
    # A nomination of a moderator.
    other(
        90,
        6,
        "2013-05-02T10:00:00.000",
        7,
        "<p>I have kept this place tidy for three years and would like to go on doing so.</p>\n",
    ),
    # A placeholder that the site itself wrote.
    other(
        91, 7, "2013-05-02T10:05:00.810", -1, "<p><b>Gardens</b> is for automated gardens.</p>\n"
    ),
    # An orphan: question 95 is not in the dump. A comment by a user who has been deleted since.
    answer(
        96,
        "2013-06-11T21:18:36.150",
        8,
        95,
        "<p>Bury the cable at least a spade deep, and draw where it runs before you forget.</p>\n",
        score=2,
        comments=[
            comment("2013-06-12T05:33:27.993", "user77", "And photograph it before you fill it.")
        ],
    ),
    # The first thread of the chain; an author without a trace, neither id nor name.
    question(
        103,
        "2013-09-21T05:44:59.490",
        None,
        "One valve opens by itself at night",
        "valves troubleshooting",
        """\
<p>Around three at night one of my valves opens for some minutes. The controller shows no such
entry, and its lamp is off. In the morning the lavender stands in a puddle. Ghosts apart, what can
open a valve when nobody asks for it?</p>
""",
        score=14,
        views=3120,
        accepted=104,
        events=[Event(50, "2013-10-21T05:50:00.027", -1)],
    ),
    # The chain, A.
    answer(104, "2013-09-21T08:12:20.873", 8, 103, VALVE_TEST, score=16),
    # A row that cannot be used: its date is none. It goes to quarantine.
    answer(128, "not a date", 3, 103, "<p>Pressure rises at night, when all sleep.</p>\n", score=0),
    # The second thread of the chain.
    question(
        131,
        "2014-04-06T16:31:11.067",
        2,
        "How do I find the stuck one among eight valves?",
        "valves irrigation",
        """\
<p>After the winter the pressure gauge of my manifold falls by half a bar an hour with all eight
valves shut. They are under a bench, behind the compost, and I would rather not take out all of
them. Is there a quick way to find the one that leaks?</p>
""",
        score=9,
        views=874,
        accepted=132,
    ),
    # The chain, B: like A and like C.
    answer(132, "2014-04-06T18:20:54.610", 8, 131, VALVE_TEST_2, score=7),
    # Closed as a duplicate of 41, with a link of kind 3; its words are quite different.
    question(
        150,
        "2014-10-12T09:03:37.220",
        9,
        "Hygrometer in the flower pot never changes",
        "sensors",
        """\
<p>My fork with two silver prongs always shows the same bar on the little screen, in dust as well
as in mud. I have cleaned the prongs with vinegar. Should I send it back?</p>
""",
        score=1,
        views=240,
        comments=[
            comment(
                "2014-10-12T10:00:02.137", 4, "Have you seen https://gardens.example.org/q/41 ?"
            ),
        ],
        events=[closed("2014-10-13T07:45:19.800", 101, {4: "Mira Osei", 2: "Ines Vale"}, 41)],
    ),
    # The third thread of the chain.
    question(
        195,
        "2016-06-19T19:27:08.353",
        6,
        "Solenoid hums, but no water comes",
        "valves wiring",
        """\
<p>When the schedule starts I can hear the solenoid hum, and the hose stays limp. The tap is open,
and the same hose works when I bypass the valve. It worked until the plumber replaced the
stopcock.</p>
""",
        score=5,
        views=655,
        comments=[
            comment("2016-06-19T20:15:36.193", 4, "Is the stopcock open *all* the way?", 1),
            comment("2016-06-19T20:31:50.077", 6, "@MiraOsei Half a turn is missing. Oh dear."),
        ],
    ),
    # The chain, C: like B, no longer like A.
    answer(196, "2016-06-20T06:58:46.937", 8, 195, VALVE_TEST_3, score=4),
    # Deep indentation, and a licence that follows the last edit: asked under 3.0, now 4.0.
    question(
        225,
        "2017-08-30T22:11:15.290",
        2,
        "Count the frost nights of each month from a log of temperatures",
        "python logging frost",
        """\
<p>The logger appends a line every five minutes. I want to know for each month in how many nights
it went below zero, and I got lost in my own loops:</p>

<pre class="lang-py prettyprint-override"><code>for month in months:
    for night in nights[month]:
        for line in night:
            try:
                stamp, celsius = line.split(";")
                if float(celsius) &lt; 0:
                        frost[month] += 1   # counts readings, I want nights

            except ValueError:
                pass
</code></pre>

<p>Is there a way with fewer stairs?</p>
""",
        score=17,
        views=1961,
        accepted=226,
        first_body="The logger appends a line every five minutes. I want the frost nights of each "
        "month and got lost in my own loops (code follows).",
        events=[edited("2019-01-05T12:40:38.517", 2, "added the code, as asked")],
    ),
    # Inline code in the middle of a sentence, keys to press, and code that hints at its language.
    answer(
        226,
        "2017-09-01T07:30:27.660",
        6,
        225,
        """\
<p>Let <code>min()</code> do the inner loop: a night had frost if its <em>lowest</em> reading was
below zero. Then <code>sum()</code> counts the nights, because <code>True</code> is one:</p>

<!-- language: lang-py -->

<pre><code>frost = {
    month: sum(min(readings(night)) &lt; 0 for night in nights[month])
    for month in months
}
</code></pre>

<p>Press <kbd>Tab</kbd> after <code>frost[</code> and the shell lists the months.</p>
""",
        score=13,
    ),
    # Asked in the last hours of CC BY-SA 3.0; Chinese and, from right to left, Arabic.
    question(
        260,
        "2018-05-01T21:47:03.987",
        6,
        "Plant labels in Chinese and Arabic are printed as empty boxes",
        "labels fonts",
        """\
<p>The label printer of our community garden prints 番茄 (tomato) and نعناع (mint) as a row of
boxes; Latin names are fine. The text reaches the printer intact, as far as I can see. Where do
the letters get lost?</p>
""",
        score=10,
        views=703,
        accepted=261,
    ),
    # Answered in the first hours of CC BY-SA 4.0; a link whose text matters, a zero-width space.
    answer(
        261,
        "2018-05-02T00:13:29.050",
        7,
        260,
        """\
<p>Nowhere: the font in the printer has no shapes for them. Send an image instead, or load
<a href="https://fonts.example.org/garden" rel="nofollow noreferrer">a font that covers both
scripts</a>. And take out the zero&#8203;width characters that the web form adds, or there will be
one box left over&hellip;</p>
""",
        score=15,
    ),
    # The near-duplicate across the sites; its twin is 290 on the other one.
    question(
        301,
        "2019-05-25T17:38:52.143",
        6,
        "ESP32 loses Wi-Fi whenever the pump starts",
        "esp32 pump",
        PUMP_RESET,
        score=6,
        views=512,
    ),
    # Emoji beyond U+FFFF, and U+2028 in the middle of a body: the row is still one line.
    answer(
        302,
        "2019-05-27T06:21:40.727",
        3,
        301,
        """\
<p>A diode across the motor, a fat capacitor at the board, and it rains on time 🌧️🌱.\u2028The
supply is innocent: it is the spike of the motor that resets you.</p>
""",
        score=8,
        comments=[
            # Exactly as long as a comment may be: 600 characters.
            comment(
                "2019-05-28T20:00:00.403",
                6,
                """\
Thank you, that is it! For those who come after me: I had the diode the wrong way round at first,
which is a short circuit, and the fuse of the supply told me so. The stripe belongs to the plus
side. Then I added 470 microfarads right at the pins of the board, not at the far end of the cable,
where they had done nothing at all. Since then the pump has started ninety times without a single
reset, in the heat of last week too, and the counters go up as they should. I also moved the relay
to a supply of its own for good measure, though I could not tell any difference after that. The
beans say yes""",
                4,
            ),
        ],
    ),
)

GARDENS = Site(
    name="gardens.example.org",
    dumped_at="2020-06-28T00:00:00.000",
    is_recent=False,
    posts=_POSTS,
    links=(
        # The duplicate of 41, which is also a plain link.
        Link("2014-10-12T10:00:02.137", post=150, related=41),
        Link("2014-10-13T07:45:19.800", post=150, related=41, kind=3),
        Link("2014-04-06T18:25:00.410", post=132, related=103),
        # From a post that is not in the dump.
        Link("2013-06-12T08:00:00.727", post=95, related=12),
    ),
    users=(
        user(-1, "2009-04-30T00:00:00.000", "Community", Location="on the server farm"),
        # Personal data that must end here: old dumps held ages and hashes of e-mail addresses.
        user(
            2,
            "2009-05-01T08:15:42.283",
            "Ines Vale",
            WebsiteUrl="https://ines.example.org",
            Location="Porto, Portugal",
            AboutMe="<p>Tomatoes &amp; timers.</p>\r\n<p>Write to ines@mail.example.net</p>\r\n",
            EmailHash="0123456789abcdef0123456789abcdef",
            Age="34",
        ),
        user(3, "2009-05-01T19:03:20.990", "greenhouse_gus", Location="under glass"),
        user(4, "2009-05-03T10:37:51.157", "Mira Osei", Age="41"),
        user(6, "2010-02-11T06:09:14.620", "王小明"),
        user(7, "2009-12-24T13:50:05.043", "leafcutter"),
        user(8, "2010-01-02T21:28:39.510", "Tomek"),
        user(9, "2009-08-20T20:10:02.887", "dry_corner"),
    ),
)
