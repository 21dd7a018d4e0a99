"""Secrets drawn at random, and the lines of prose and code that they are planted in."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Draw: TypeAlias = np.random.Generator

ALNUM = string.ascii_letters + string.digits
BASE64 = ALNUM + "+/"
URL64 = ALNUM + "-_"


def letters(draw: Draw, alphabet: str, num: int) -> str:
    return "".join(alphabet[place] for place in draw.integers(len(alphabet), size=num))


def email(draw: Draw) -> str:
    login = letters(draw, string.ascii_lowercase, 6) + "." + letters(draw, string.digits, 2)
    top = ("com", "org", "de", "co.uk", "io", "edu")[draw.integers(6)]
    return f"{login}@{letters(draw, string.ascii_lowercase, 9)}.{top}"


def ipv4(draw: Draw) -> str:
    # Networks that are neither private nor for documentation, and no version number.
    return f"{draw.integers(60, 95)}." + ".".join(str(n) for n in draw.integers(33, 250, size=3))


def ipv6(draw: Draw) -> str:
    groups = [f"{n:x}" for n in draw.integers(0x1000, 0xFFFF, size=5)]
    return f"2a02:{groups[0]}:{groups[1]}::{groups[2]}:{groups[3]}"


def phone(draw: Draw) -> str:
    area, exchange = draw.integers(2, 9, size=2)
    number = f"{area}0{draw.integers(2, 9)}", f"{exchange}{draw.integers(20, 49)}"
    last = draw.integers(2000, 9999)
    return f"+1 {number[0]} {number[1]} {last}"


def aws_key(draw: Draw) -> str:
    return "AKIA" + letters(draw, string.ascii_uppercase + "234567", 16)


def github_token(draw: Draw) -> str:
    return f"gh{'pousr'[draw.integers(5)]}_" + letters(draw, ALNUM, 36)


def gitlab_token(draw: Draw) -> str:
    return "glpat-" + letters(draw, URL64, 20)


def google_key(draw: Draw) -> str:
    return "AIza" + letters(draw, URL64, 35)


def slack_token(draw: Draw) -> str:
    digits = letters(draw, string.digits, 11), letters(draw, string.digits, 12)
    return f"xoxb-{digits[0]}-{digits[1]}-{letters(draw, ALNUM, 24)}"


def stripe_key(draw: Draw) -> str:
    return f"{'sr'[draw.integers(2)]}k_live_" + letters(draw, ALNUM, 24)


def jwt(draw: Draw) -> str:
    return f"eyJ{letters(draw, URL64, 33)}.eyJ{letters(draw, URL64, 60)}.{letters(draw, URL64, 43)}"


def private_key(draw: Draw) -> str:
    name = ("RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED ")[draw.integers(5)]
    lines = [letters(draw, BASE64, 64) for _ in range(6)] + [letters(draw, BASE64, 40) + "=="]
    body = "\n".join(lines)
    return f"-----BEGIN {name}PRIVATE KEY-----\n{body}\n-----END {name}PRIVATE KEY-----"


def password(draw: Draw) -> str:
    return letters(draw, ALNUM, 9) + "4" + letters(draw, "!-_.", 1) + letters(draw, ALNUM, 3)


SECRETS: dict[str, Callable[[Draw], str]] = {
    "email": email,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "phone": phone,
    "aws_key": aws_key,
    "github_token": github_token,
    "gitlab_token": gitlab_token,
    "google_key": google_key,
    "slack_token": slack_token,
    "stripe_key": stripe_key,
    "jwt": jwt,
    "private_key": private_key,
    "url_password": password,
    "connection_password": password,
}
PROSE = (
    "Please write to {} if that does not help.",
    "It says ({}), and then it stops.",
    "My one is {}, as you see",
    "I used {}.",
    "{}\nis what I get; why?",
)
CODE = (
    'key = "{}"',
    "send('{}', retries=3)  # 1.2.3.4 is not it",
    "value: {}\nother: 1",
    "<item>{}</item>",
    'printf("%s\\n{}\\n", x);',
    "export VALUE={}",
)
# A password is one for where it stands.
FRAMES = {
    "url_password": (
        "postgres://app:{}@db.internal:5432/app",
        "git clone https://joe:{}@git.host.org/x",
    ),
    "connection_password": (
        'x = "Server=db;Database=app;User Id=app;Password={};Encrypt=yes"',
        '<add connectionString="Data Source=db;uid=app;pwd={};"/>',
        "mysqldump --user=app --password={} app",
    ),
}


def plant(draw: Draw, kind: str) -> tuple[str, str]:
    """Return a secret, and a line or two that hold it."""
    secret = SECRETS[kind](draw)
    frames = FRAMES.get(kind) or (PROSE, CODE)[draw.integers(2)]
    return secret, frames[draw.integers(len(frames))].format(secret)
