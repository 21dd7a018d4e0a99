"""Which secrets are none: words that stand for one, documented keys, values that are plain words.

Pure tests of one value. They decide for whoever wrote `password = "changeme"` and against nobody:
what is refused here stays in the text as it was written.
"""

from __future__ import annotations

import math
import re
from collections import Counter

# Keys that a vendor's own documentation prints; compared whole. Anything with "example" in it is
# one too, and so needs no entry: AKIAIOSFODNN7EXAMPLE.
DOCUMENTED = frozenset(
    {
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "sk_test_BQokikJOvBiI2HlWgH4olfQ2",
        "sk_test_51H0example",
        # The account key of Azure's storage emulator.
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        # The three of RFC 6749, section 4, and RFC 7617.
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "czZCaGRSa3F0MzpnWDFmQmF0M2JW",
        "2YotnFZFEjr1zCsicMWpAA",
    }
)
# Signatures of the tokens that jwt.io has shown to every visitor, and of RFC 7519.
DOCUMENTED_SIGNATURES = (
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
)
_WORDS = (
    "pass passwd password passwort passphrase pw pwd secret key apikey token user username root "
    "admin administrator guest postgres mysql sa test tester testing foo bar baz foobar qwerty "
    "changeme changeit change letmein hello welcome default demo sample dummy fake null none nil "
    "true false undefined empty blank string value text abc abcd abcdef xyz asdf login hidden "
    "redacted removed censored masked private data name id mypass mypassword mysecret mytoken "
    "mykey myapikey yourpass yourpassword yoursecret yourtoken yourkey yourapikey somepassword "
    "thepassword newpassword oldpassword dbpass dbpassword dbuser userpass userpassword "
    "rootpassword adminpassword secretkey secrettoken accesstoken authtoken accesskey"
)
PLACEHOLDER_WORDS = frozenset(_WORDS.split())
# What stands where a program puts the secret in: $VAR, ${var}, {var}, <var>, %s, #{var}, [var].
# An escaped character (%40) is not one, unless a % ends the name, too: %DB_PASS%.
_VARIABLE = re.compile(
    r"[\$<{\[(#@:]|%(?![0-9A-Fa-f]{2})|%\w{1,40}%\Z|.{0,40}(?:\$\{|\{\{|<%|\.\.\.|…)"
)
_MASK = re.compile(r"[xX*.•_#?0-]{3,}|.*?(?:[xX]{5}|\*{3})", re.DOTALL)
_EXAMPLE = re.compile(
    r"example|sample|dummy|placeholder|changeme|redacted|censored|insert|"
    r"your[-_ ]?|(?:^|[-_ ])(?:my|the|some)[-_ ]|(?:12345|abcde)[-_ ]?(?:67890|fghij)",
    re.IGNORECASE,
)
_AFFIX = re.compile(r"[^a-z]+")


def is_placeholder(value: str) -> bool:
    """Say whether a value only stands for a secret, or is one that documentation prints.

    >>> [is_placeholder(one) for one in ("$PASS", "<password>", "xxxx", "test123", "Tr0ub4dor&3")]
    [True, True, True, True, False]
    """
    if value in DOCUMENTED or len(set(value)) < 4:
        return True
    if _VARIABLE.match(value) or _MASK.match(value) or _EXAMPLE.search(value):
        return True
    return _AFFIX.sub("", value.lower()) in PLACEHOLDER_WORDS


def has_random_look(value: str) -> bool:
    """Say whether a value looks drawn rather than written: letters and digits, little repeated.

    Names and words of a program seldom have a digit in their midst; those that have one, like
    `sha256WithRSAEncryption`, have few. Hexadecimal digests of a fixed text look drawn, too.

    >>> has_random_look("9f8b3c1de27a465b8d0e"), has_random_look("getUserTokenFromRequest2")
    (True, False)
    """
    num_digits = sum(map(str.isdigit, value))
    num_letters = sum(map(str.isalpha, value))
    if len(value) < 16 or num_digits < max(2, len(value) // 12) or num_letters < 3:
        return False
    return entropy(value) >= 3.0


def entropy(value: str) -> float:
    """Return the Shannon entropy of a text's characters, in bits a character.

    >>> entropy("aabb"), entropy("")
    (1.0, 0.0)
    """
    shares = [num / len(value) for num in Counter(value).values()]
    return math.fsum(-share * math.log2(share) for share in shares)
