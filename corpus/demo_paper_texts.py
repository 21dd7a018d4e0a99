"""Sentences of the paper dump, Markdown with slots in braces; `corpus.demo_paper` fills them.

A slot is `library`, `other`, `machine` (one for a thread each), `old` and `new` (a call that the
library dropped, and one that it has), or a list of WORDS. Sentences are short, so that two posts
share no long run of words. All products and calls are made up.
"""

from __future__ import annotations

# Calls that were dropped, and calls of today, by library. Which are which is said by no word of
# the call itself: it has to be learned from the answers.
LIBRARIES = {
    "carvekit": (
        ("open_job", "stream_path", "set_origin"),
        ("queue_job", "send_path", "mark_origin"),
    ),
    "lathelog": (
        ("dump_cut", "tail_spindle", "read_tacho"),
        ("write_cut", "watch_spindle", "poll_tacho"),
    ),
    "benchbus": (
        ("claim_port", "push_frame", "close_all"),
        ("lease_port", "emit_frame", "free_all"),
    ),
    "plotterpy": (
        ("lift_pen", "goto_xy", "load_hpgl"),
        ("raise_pen", "travel_xy", "parse_hpgl"),
    ),
    "kilnctl": (
        ("ramp_to", "hold_for", "get_probe"),
        ("climb_to", "soak_for", "sample_probe"),
    ),
    "sawmill": (
        ("plan_cuts", "nest_parts", "fetch_stock"),
        ("lay_cuts", "pack_parts", "list_stock"),
    ),
}

WORDS = {
    "machine": (
        *("planer", "plotter", "lathe", "bandsaw", "kiln", "mill", "router", "drill press"),
        *("laser", "loom", "bookbinding press", "foam cutter"),
    ),
    "host": (
        *("laptop", "Raspberry Pi", "thin client", "rack server", "tablet", "virtual machine"),
        *("workstation", "micro-controller"),
    ),
    "part": (
        *("spindle", "stepper", "end stop", "probe", "relay", "thermocouple", "encoder", "pump"),
        *("fan", "clamp", "belt", "power supply", "driver board", "pen holder"),
    ),
    "symptom": (
        *("skips", "stalls", "overshoots", "hums", "jitters", "resets", "drifts", "trips"),
        *("stutters", "overheats"),
    ),
    "change": (
        *("the cable", "the firmware", "the baud rate", "the parser", "the board", "the kernel"),
        *("the grounding", "the buffer size", "the clock", "the shielding"),
    ),
    "unit": ("mm", "ms", "pulses", "mA", "degrees", "frames", "bytes", "turns"),
    "number": tuple(str(number) for number in range(12, 980, 7)),
    "version": ("2.1", "2.4", "2.8", "3.0", "3.2", "3.5"),
    "place": (
        *("garage", "school", "cellar", "studio", "shed", "theatre", "museum", "attic"),
        *("boat yard", "makerspace"),
    ),
    "person": ("colleague", "neighbour", "teacher", "brother", "customer", "boss", "landlord"),
    "material": ("oak", "brass", "felt", "acrylic", "clay", "slate", "leather", "cork", "copper"),
    "tag": ("serial", "timing", "calibration", "wiring", "paths", "logging"),
}

# How any question begins.
OPENINGS = (
    "In our {place} a {host} steers the {machine} through `{library}` {version}.",
    "The {machine} in the {place} cuts {material} and listens to `{library}` {version}.",
    "Since spring my {machine} takes its jobs from a {host} with `{library}`.",
    "I have `{library}` {version} on a {host}, next to the {machine}.",
    "We moved the {machine} to the {place} and gave it a {host}.",
    "For {material} I use a {machine}, a {host} and `{library}` {version}.",
)
_MEASURED = (
    "Above {number} {unit} the {part} {symptom}; below that it never does.",
    "I expected {number} {unit} and the {part} gave {number}.",
    "Swapping {change} made no difference, swapping {change} halved it.",
    "The log shows {number} {unit} between two calls of `{new}()`.",
    "With the {part} unplugged the same job of {number} lines runs through.",
    "A second {host} shows the same {number} {unit}, so I ruled out {change}.",
    "It began with {version}; {version} on the same {host} was fine.",
    "The {part} alone, on a bench supply, holds {number} {unit} for hours.",
)
_UNCLEAR = (
    "It does not do what it should, and the {part} looks odd.",
    "Sometimes the {part} {symptom}, sometimes it is something else.",
    "I changed a few things, {change} too, and now all is strange.",
    "There was some message about the {part} that I closed.",
    "Yesterday it was fine with {material}, today it is not.",
    "I tried everything with {change} and nothing helps at all.",
    "My {person} says the {part} is normal, but it feels wrong.",
    "The screen of the {host} shows red letters about {change}.",
)
_TASTE = (
    "My {person} swears by `{other}`, and I like `{library}`.",
    "Some find `{other}` prettier, for {material} above all.",
    "Everybody in the {place} has a favourite {part} by now.",
    "I read that real makers of {material} things avoid `{library}`.",
    "One looks modern, the other has the nicer {part} page.",
    "We argued about {change} all evening in the {place}.",
)
_WIDE = (
    "I want to build my own {machine} from the {part} up.",
    "I know nothing yet of {change}, of the {part}, or of {material}.",
    "It should cut {material}, weave, print and keep the books.",
    "Please begin with the {part} and leave out nothing.",
    "A course for my {person} should come out of it, with {change}.",
    "Theory, shopping list, {part}, software and safety all matter.",
)
_ELSEWHERE = (
    "My {person} wants {number} euros of rent for the {machine}.",
    "The insurance of the {place} asks who owns the {part}.",
    "The {person} sold me {material} and will not take it back.",
    "I was offered a job at the {place} for {number} a day.",
    "The tax office counts the {machine} as a vehicle.",
    "My {person} put a photograph of my {machine} on the web.",
)
SENTENCES_BY_KIND = {
    "good": _MEASURED,
    "plain": (*_MEASURED[:4], *_UNCLEAR[4:6]),
    "vague": _UNCLEAR,
    "opinion": _TASTE,
    "broad": _WIDE,
    "off_topic": _ELSEWHERE,
    "repeat": _MEASURED,
}
_ASKED = (
    "Which setting of the {part} decides this?",
    "How can I tell whether the {part} or `{library}` is late?",
    "What does `{new}()` wait for when the {part} {symptom}?",
    "Is there a call that reports {unit} before the {part} {symptom}?",
)
_BEGGED = (
    "What can be the reason, and how do I make it work?",
    "Can somebody please fix the {part} for me?",
    "Does anybody have an idea about the {machine}?",
    "Why is the {machine} like this?",
)
CLOSINGS_BY_KIND = {
    "good": _ASKED,
    "plain": (*_ASKED, _BEGGED[2]),
    "vague": _BEGGED,
    "opinion": (
        "Which of them do you like better, and why?",
        "Is `{other}` simply the better choice for a {place}?",
        "What is your favourite for {material}?",
    ),
    "broad": (
        "How does all of it work, step by step?",
        "Can somebody explain machines like my {machine} from beginning to end?",
        "What must I know about `{library}`, the {part} and everything else?",
    ),
    "off_topic": (
        "Do I have to pay, and whom?",
        "Can I go to court about the {machine}?",
        "Which form does the {person} need from me?",
    ),
    "repeat": _ASKED,
}
_PLAIN_TITLES = (
    "{machine} {symptom} when `{library}` sends {number} {unit}",
    "{part} of the {machine} {symptom} with `{library}` {version}",
    "`{library}` {version}: {part} and {machine} disagree by {number} {unit}",
)
TITLES_BY_KIND = {
    "good": _PLAIN_TITLES,
    "plain": _PLAIN_TITLES,
    "vague": (
        "{machine} and `{library}` do not work",
        "Problem with the {part} of a {machine}",
        "`{library}` {version} strange with {material}",
    ),
    "opinion": (
        "`{library}` or `{other}` for a {machine}?",
        "Who still likes `{library}` for {material}?",
        "Nicest library for a {machine} in a {place}?",
    ),
    "broad": (
        "Everything about a {machine} and `{library}`",
        "Building a {machine} for {material} from nothing",
        "How do machines such as a {machine} work?",
    ),
    "off_topic": (
        "Rent and tax for a {machine} in a {place}",
        "Can my {person} forbid the {machine}?",
        "Who pays for the {material} of the {place}?",
    ),
    "repeat": _PLAIN_TITLES,
}

# Answers: the DATED rely on a call that was dropped, the SOUND may name it to warn of it.
_FRAMES = (
    "Let `{call}()` run once before the {part} moves.",
    "What you need is `{call}()`, with {number} {unit} as its limit.",
    "I would put `{call}()` between {change} and the {part}.",
    "Here `{call}({number})` did it, on a {host} with the same {part}.",
)
DATED = tuple(frame.replace("{call}", "{old}") for frame in _FRAMES)
SOUND = (
    *(frame.replace("{call}", "{new}") for frame in _FRAMES),
    "Leave `{old}()` alone and let `{new}()` do it, {number} {unit} at a time.",
    "`{new}()` does that; what `{old}()` did with the {part} never comes back.",
    "Take `{new}()` instead of `{old}()`, and keep {change} as it is.",
)
ANSWER_ENDINGS = (
    "In my {place} a {machine} has run like that on {material} for {number} days.",
    "Check {change} as well: {number} {unit} is a lot for {material}.",
    "After that the {part} stays within {number} {unit}.",
    "If the {part} still {symptom}, measure {change} with {number} {unit}.",
    "My {person} found it while cutting {material} in the {place}.",
)

QUESTION_COMMENTS = (
    "How long is the cable to the {part}?",
    "Which {host} is it, and who made the {part}?",
    "What happens with {material} instead?",
    "Please show {number} lines of the log.",
)
ANSWER_COMMENTS = (
    "Thanks, the {part} is quiet now.",
    "Does it need {number} {unit} for {material}, too?",
    "Works for me in a {place} with a {host}.",
)
# The words by which people say so, as `labeling.giveaways` knows them; some are mistaken.
WARNINGS = (
    "This no longer works since {library} 3.0.",
    "`{old}()` is deprecated; see the notes of {library}.",
    "Outdated: {library} has dropped `{old}()`.",
)
FALSE_ALARMS = (
    "My editor calls `{new}()` deprecated, but it means another {library}.",
    "It no longer works on my {host}. Edit: the {part} was unplugged.",
    "Outdated? The manual of {library} still shows it so.",
)
