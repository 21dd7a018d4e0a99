from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.recipe import SECRET_KINDS
from corpus.rules import Rule
from corpus.secrets import (
    RULES,
    Numbering,
    find_secrets,
    match_hints,
    rules_of,
    scrub_text,
    scrub_texts,
)
from tests.corpus.planting import SECRETS, plant

KEPT = Path(__file__).parents[1] / "data" / "kept_by_scrub.txt"
NUM_PLANTED = 1_008
WORST_CHARACTERS = 30_000

# What makes a pattern read far, or begin often, and then fail.
WORST = (
    *("a-", "a.", "a@", "@", "a@a.", "dir/dir/", "a%40", "a [at] ", "[at]", "a(at)a(dot)", "a_"),
    *("1.", "1.1.1.1.", "193.1.", "1.2.3.4 ", "123.123.123.", "9", "93.184.215.14 ", "-1.2"),
    *("2a02:", "2:", ":", "2001:1:", "2a02:1::", "::", "2000:1:2:3:4:5:6:7:8 "),
    *("+1", "+1 ", "+1 (1) ", "(202) ", "202-202-", "+1-1-", "tel 01 ", "tel: 0", "phone "),
    *("AKIA", "AKIAAAAAAAAAAAAAAAAA ", "A", "aws secret ", "abcDEF0123", "/"),
    *("ghp_", "ghp_a", "glpat-", "glpat-a-", "AIza", "xoxb-", "xoxb-1-", "sk_live_", "ya29."),
    *(
        "eyJ",
        "eyJ-",
        "eyJaaaaaaaaaa.",
        "eyJaaaaaaaaaa.eyJaaaaaaaaaa.",
        "-eyJ",
        "SG.",
        "sk-",
        "sk-a-",
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\n", "-----BEGIN ", "-"),
    *(
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n",
        "-----END KEY-----",
        "A\n",
    ),
    *("://", "://a:", "://a:b", "://a:a@", "http://a:b@c ", "a:", "://:@"),
    *("password=", "pwd=a;", ";pwd=", "a=b password=a ", "a=b ", ";;", "pwd = ", "accountkey="),
    *("--password ", "--password=a", "-u a:", "-u ", "-u aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    *("token=", "token = ", "secret:", 'api_key="a1', "access_token", "key,", "token='a1b2"),
    *("password='a1", 'password = "', "bearer ", "bearer a-", "basic a", "Bearer aaaaaaaa1-"),
    *("hooks.slack.com/services/T", "N1-.", "Naaaaaaaaaaaaaaaaaaaaaaaa.", "12345678:AA"),
    *(" ", "\n", "\t", "é", "\u200b", "\U0001f600", '"', "'", "\\n", "%3D", "$", "x"),
)


def test_a_thousand_planted_secrets_of_fourteen_kinds_are_all_replaced() -> None:
    draw = np.random.Generator(np.random.PCG64(13))
    kinds = [list(SECRETS)[number % len(SECRETS)] for number in range(NUM_PLANTED)]
    planted = [(kind, *plant(draw, kind)) for kind in kinds]
    scrubbed = scrub_texts([text for _, _, text in planted])
    survivors = [
        (kind, text)
        for (kind, secret, _), text in zip(planted, scrubbed, strict=True)
        if any(line in text for line in secret.splitlines() if "-----" not in line)
    ]
    assert not survivors
    named = Counter(
        kind for kind, text in zip(kinds, scrubbed, strict=True) if f"[{kind}-1]" in text
    )
    assert named == Counter(kinds)


def test_what_only_looks_like_a_secret_is_kept() -> None:
    lines = KEPT.read_text("utf-8").splitlines()
    assert len(set(lines)) >= 200
    changed = [pair for pair in zip(lines, scrub_texts(lines), strict=True) if pair[0] != pair[1]]
    assert not changed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<mailto:jo@mozilla.org>", "<mailto:[email-1]>"),
        ("...jo@mozilla.org.", "...[email-1]."),
        ("q=jo%40mozilla.org&x=1", "q=[email-1]&x=1"),
        ("%3Djo%40mozilla.org", "%3D[email-1]"),
        ("jo (at) mozilla [dot] org", "[email-1]"),
        ("http://mailto:jo@mozilla.org", "http://mailto:[email-1]"),
        ("http://93.184.215.14:80/a", "http://[ipv4-1]:80/a"),
        ("93.184.215.14/32 and 93.184.215.15.", "[ipv4-1]/32 and [ipv4-2]."),
        ("ping -c1 2a02:26f0:1700::1:2", "ping -c1 [ipv6-1]"),
        ("[2a02:26f0:1700::1:2]:80", "[[ipv6-1]]:80"),
        ("Tel. 030 4567 8912", "Tel. [phone-1]"),
        ("(415) 867-5309", "[phone-1]"),
        ("tel://+393339446827", "tel://[phone-1]"),
        ("(+91) 88888 13275", "[phone-1]"),
        ("phone:  +49 (1 51) 50 01 29 31.", "phone:  [phone-1]."),
        ("-o user=al,password=chh156 rw", "-o user=al,password=[connection_password-1] rw"),
        ("%3DAKIAJ56TQJRTWSMTNPEA%26", "%3D[aws_key-1]%26"),
        ("ftp://al:p@ss9@host.org/", "ftp://al:[url_password-1]@host.org/"),
        ("curl -u al:s3cr8t5x http://h", "curl -u al:[connection_password-1] http://h"),
        (
            "AccountName=a;AccountKey=" + "aB3/" * 21 + "aQ==;",
            "AccountName=a;AccountKey=[azure_key-1];",
        ),
        ('api_key = "9f8b3c1de27a465b8d0e"', 'api_key = "[assigned_secret-1]"'),
        ("API_TOKEN=9f8b3c1de27a465b8d0e", "API_TOKEN=[assigned_secret-1]"),
        ('"password": "h7nter2go"', '"password": "[assigned_secret-1]"'),
        ("Authorization: Bearer a8Fq.31kd-99Zl2mQ7", "Authorization: Bearer [assigned_secret-1]"),
        ("ping6: 2a02:26f0:1700::1:2: no answer", "ping6: [ipv6-1]: no answer"),
        ("refused: host/93.184.215.14:9000", "refused: host/[ipv4-1]:9000"),
        ("I see host/93.184.215.14:9000.", "I see host/[ipv4-1]:9000."),
        ("ftp://al:90817263@host.org/", "ftp://al:[url_password-1]@host.org/"),
        ("ftp://al:%21k7Wq2z@host.org/", "ftp://al:[url_password-1]@host.org/"),
        (
            "jdbc:x://h/d?user=a&password=k7Wq2z&ssl=1",
            "jdbc:x://h/d?user=a&password=[connection_password-1]&ssl=1",
        ),
        (f"eyJ{'hbGciOi1' * 3}.ewog{'ICJzdW9' * 3}.{'kX8bQm2' * 6}", "[jwt-1]"),
        (
            f"api.telegram.org/bot7854278255:AA{'kX8bQm2' * 5}"[:-2] + "/getMe",
            "api.telegram.org/bot[api_token-1]/getMe",
        ),
        (f"glft-{'kX8bQm2' * 3}", "[gitlab_token-1]"),
        (f"glpat-{'kX8bQm2' * 3}.01.1a0b3c4d5", "[gitlab_token-1]"),
        (f"1//0{'kX8bQm2' * 7}", "[google_key-1]"),
        (f"whsec_{'kX8b' * 8}", "[stripe_key-1]"),
        (f"xapp-1-A0{'kX8b' * 8}", "[slack_token-1]"),
        ("apikey = &quot;9f8b3c1de27a465b8d0e&quot;", "apikey = &quot;[assigned_secret-1]&quot;"),
        (
            "&quot;password&quot;: &quot;h7nter2go&quot;,",
            "&quot;password&quot;: &quot;[assigned_secret-1]&quot;,",
        ),
    ],
)
def test_only_the_secret_itself_is_replaced(text: str, expected: str) -> None:
    assert scrub_text(text) == expected


def test_the_secret_beside_an_aws_key_is_replaced_and_a_commit_is_not() -> None:
    secret, commit = "kX8b/Qm2" * 5, "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
    text = f"AKIAJ56TQJRTWSMTNPEA\n{secret}\n{commit}"
    assert scrub_text(text) == f"[aws_key-1]\n[aws_key-2]\n{commit}"
    assert secret in scrub_text(f"{secret} {commit}")


def test_the_secret_beside_an_aws_key_may_have_one_digit() -> None:
    secret = "ClcUaFQmGEbRwetpW+irkLWDyIZVyiyOH+Wsrn7S"
    assert scrub_text(f"AWS_SECRET_ACCESS_KEY={secret}") == "AWS_SECRET_ACCESS_KEY=[aws_key-1]"


@pytest.mark.parametrize("quote", ["", "> ", "    "])
def test_a_private_key_that_breaks_off_is_replaced_to_its_last_line(quote: str) -> None:
    draw = np.random.Generator(np.random.PCG64(5))
    whole = SECRETS["private_key"](draw).splitlines()[:-1]
    text = "Look:\n" + "\n".join(quote + line for line in whole) + "\nWhat is wrong with it?"
    assert scrub_text(text) == f"Look:\n{quote}[private_key-1]\nWhat is wrong with it?"


def test_a_private_key_in_a_string_is_replaced() -> None:
    draw = np.random.Generator(np.random.PCG64(6))
    key = SECRETS["private_key"](draw)
    escaped = key.replace("\n", "\\n")
    assert scrub_text(f'k = "{escaped}\\n"') == 'k = "[private_key-1]\\n"'
    joined = key.replace("\n", '\\n" +\n  "')
    assert scrub_text(f'k = "{joined}";') == 'k = "[private_key-1]";'


def test_one_secret_has_one_number_in_a_text() -> None:
    text = "al@mozilla.org, jo@mozilla.org, al@mozilla.org"
    assert scrub_text(text) == "[email-1], [email-2], [email-1]"


def test_a_number_that_the_author_wrote_is_left_out() -> None:
    assert scrub_text("[email-1] is not al@mozilla.org") == "[email-1] is not [email-2]"
    assert Numbering(["[email-1]", "[email-2]"]).replacement("email", "x") == "[email-3]"


def test_kinds_that_are_not_asked_for_are_kept() -> None:
    text = "al@mozilla.org at 93.184.215.14"
    assert scrub_texts([text], ["ipv4"]) == ["al@mozilla.org at [ipv4-1]"]
    assert scrub_texts([text], []) == [text]


def test_every_kind_has_a_rule() -> None:
    assert {rule.kind for rule in RULES} == set(SECRET_KINDS)


def lines() -> st.SearchStrategy[str]:
    """Lines that hold a secret, and others."""
    draw = np.random.Generator(np.random.PCG64(3))
    planted = [plant(draw, kind)[1] for kind in SECRETS for _ in range(4)]
    return st.sampled_from(planted) | st.text(max_size=6)


def texts() -> st.SearchStrategy[str]:
    """Lines that hold secrets, run into halves of them and into all that stands near them."""
    halves = lines().map(lambda line: line[: len(line) // 2])
    return st.lists(lines() | halves | st.sampled_from(WORST), max_size=8).map("".join)


@settings(max_examples=100, deadline=None)
@given(texts())
def test_findings_are_in_order_and_apart(text: str) -> None:
    findings = find_secrets(text)
    edges = [edge for one in findings for edge in (one.start, one.end)]
    assert edges == sorted(edges)
    assert all(0 <= one.start < one.end <= len(text) for one in findings)


@settings(max_examples=100, deadline=None)
@given(texts())
def test_hints_spare_work_and_lose_nothing(text: str) -> None:
    by_hint = match_hints(pa.array([text]), RULES).get(0, [])
    assert find_secrets(text, by_hint) == find_secrets(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines(), max_size=8))
def test_a_scrubbed_text_stays_as_it_is(lines: list[str]) -> None:
    scrubbed = scrub_text("\n".join(lines))
    assert scrub_text(scrubbed) == scrubbed


def test_rules_go_in_one_order() -> None:
    some = rules_of(["email", "jwt"])
    assert list(some) == [rule for rule in RULES if rule.kind in ("email", "jwt")]


def best_seconds(rule: Rule, *texts: str) -> list[float]:
    """The best of five runs on each text, by turns, so that no other work is counted."""
    best = [math.inf] * len(texts)
    for _ in range(5):
        for place, text in enumerate(texts):
            started = time.thread_time()
            find_secrets(text, [rule])
            best[place] = min(best[place], time.thread_time() - started)
    return best


def is_linear(rule: Rule, text: str) -> bool:
    whole, half = best_seconds(rule, text, text[: WORST_CHARACTERS // 2])
    return whole <= min(0.1, 2.5 * half)


@pytest.mark.parametrize("rule", RULES, ids=[f"{n}-{rule.kind}" for n, rule in enumerate(RULES)])
def test_every_rule_is_linear_in_time(rule: Rule) -> None:
    for worst in WORST:
        text = (worst * WORST_CHARACTERS)[:WORST_CHARACTERS]
        started = time.thread_time()
        find_secrets(text, [rule])
        # What is this fast cannot be told from noise, and cannot hurt.
        if time.thread_time() - started > 0.03:
            # A machine with much else to do may need to be asked again.
            assert any(is_linear(rule, text) for _ in range(6)), worst
