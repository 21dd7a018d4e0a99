"""Rules for what opens a door: keys and tokens by their vendor's form, private keys, passwords.

A form with a prefix of its own (`AKIA…`, `ghp_…`) needs no context. A password or a key without one
is only known by the name it is given to, so there the value must not be a placeholder
(`corpus.placeholders`) or what a program computes.
"""

from __future__ import annotations

import re

from corpus.placeholders import (
    DOCUMENTED_SIGNATURES,
    entropy,
    has_random_look,
    is_placeholder,
)
from corpus.recipe import SecretKind
from corpus.rules import EDGE, END, Rule

_AWS_ID = r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}"
# Near its id, forty characters are the secret. A Git commit has forty, too, but no capitals.
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+])(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
_AWS_NEAR = re.compile(rf"{_AWS_ID}|aws.{{0,20}}secret|secret_?access_?key", re.IGNORECASE)
_AWS_NEAR_CHARACTERS = 200
# Of forty characters drawn from 64, one in twenty has fewer than three digits; none has less than
# this many bits a character.
_AWS_ENTROPY = 4.3

_PEM_BEGIN = r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
# One line of a key as it may be pasted: quoted, in a string, with its line end escaped.
_PEM_LINE = (
    r"[ \t>|\"'+,;*#]*+(?:[A-Za-z0-9+/]{16,1000}+={0,2}|[A-Z][A-Za-z-]{2,20}: [^\n]{0,100})?+"
    r"(?:\\[nr])*+[ \t\"'+,;\\]*+\r?+(?:\n|$|(?<=\\n))"
)
_PEM_BODY = r"(?:[A-Za-z0-9+/=\s\\:,.>|\"'*#;()_]{1,16000}+|-(?!----)){1,400}+"
_PEM = re.compile(
    rf"(?P<secret>{_PEM_BEGIN}(?:"
    rf"(?P<body>{_PEM_BODY})-----END [A-Z0-9 ]{{0,40}}KEY[A-Z ]{{0,8}}-----"
    rf"|(?P<rest>(?:{_PEM_LINE}){{2,400}}+)))"
)
_KEY_MATTER = re.compile(r"[A-Za-z0-9+/]{24}")

_URL_PASSWORD = re.compile(
    r"://(?P<login>[^\s/:@\"'<>`]{0,100}+):(?P<secret>[^\s/\"'<>`]{1,200})@(?=[A-Za-z0-9\[])"
)
_PORT_DIGITS = 5
_DEFAULT_LOGINS = frozenset({"guest", "postgres", "root", "admin", "test", "user", "mysql"})

_PAIR_BEFORE = re.compile(r"(?:[;\"'`] {0,3}|[,?&]|[A-Za-z]=[^\s=;,]{1,100} {1,4})$")
_CONNECTION = re.compile(
    r"(?<![A-Za-z_])(?:password|pwd|sharedsecret) {0,3}+= {0,3}+"
    r"(?P<secret>[^;,\"'`\s<>&]{1,200}+)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"(?<![A-Za-z0-9])(?:--(?:db-?|http-?)?(?:password|passwd|pass|token)(?:=| {1,3})"
    r"|(?:-u|--user) {0,3}[\"']?[A-Za-z0-9_.@-]{1,60}:)(?P<secret>[^\s\"'`;|&<>]{4,200}+)"
)

_KEY_NAME = (
    r"(?:api[_-]?key|api[_-]?secret|api[_-]?token|access[_-]?key|access[_-]?token|auth[_-]?key|"
    r"auth[_-]?token|secret[_-]?access[_-]?key|secret[_-]?key|client[_-]?secret|app[_-]?secret|"
    r"app[_-]?key|consumer[_-]?key|consumer[_-]?secret|token[_-]?secret|refresh[_-]?token|"
    r"encryption[_-]?key|private[_-]?key|signing[_-]?key|subscription[_-]?key|bearer|secret|token)"
)
# In HTML, quotes are written so, too.
_ENTITY = "&quot;|&#39;"
_ASSIGNS = (
    rf"(?:[\"'\])]|{_ENTITY}){{0,2}}+[ \t]{{0,3}}+"
    rf"(?:=>|:=|=|:|,(?=[ \t]{{0,3}}(?:[\"']|{_ENTITY})))[ \t]{{0,3}}+"
)
_HINTED_ASSIGNS = rf"(?:[\"'\])]|{_ENTITY}){{0,2}}[ \t]{{0,3}}(?:=>|:=|=|:|,)[ \t]{{0,3}}"
_ASSIGNED_KEY = re.compile(
    # Not the digest that names a .NET library: PublicKeyToken=b77a5c561934e089.
    rf"(?<!publickey){_KEY_NAME}{_ASSIGNS}(?P<mark>(?:[\"'`]|{_ENTITY})?)(?P<secret>[A-Za-z0-9+/=_.~|-]{{16,400}}+)"
    r"(?![A-Za-z0-9(\[])",
    re.IGNORECASE,
)
_ASSIGNED_PASSWORD = re.compile(
    rf"(?:password|passwd|passphrase|pwd){_ASSIGNS}(?P<mark>[\"']|{_ENTITY})"
    rf"(?P<secret>(?:[^\"'\s&]|&(?!quot;|#39;)){{6,100}}+)(?P=mark)",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(?<![A-Za-z])(?:basic|bearer) {1,3}+(?P<secret>[A-Za-z0-9+/=._~-]{16,2000}+)", re.IGNORECASE
)


def _is_real(found: re.Match[str]) -> bool:
    return not is_placeholder(found["secret"])


def _is_real_token(found: re.Match[str]) -> bool:
    token = found["secret"]
    return not token.endswith(DOCUMENTED_SIGNATURES) and not is_placeholder(token)


def _is_aws_secret(found: re.Match[str]) -> bool:
    secret = found["secret"]
    has_all = all(any(map(kind, secret)) for kind in (str.isupper, str.islower, str.isdigit))
    is_drawn = has_random_look(secret) or entropy(secret) >= _AWS_ENTROPY
    if not (has_all and is_drawn) or is_placeholder(secret):
        return False
    start, end = found.start() - _AWS_NEAR_CHARACTERS, found.end() + _AWS_NEAR_CHARACTERS
    return bool(_AWS_NEAR.search(found.string, max(0, start), end))


def _is_key_block(found: re.Match[str]) -> bool:
    return bool(_KEY_MATTER.search(found["body"] or found["rest"]))


def _is_url_password(found: re.Match[str]) -> bool:
    login, password = found["login"].lower(), found["secret"]
    # Of `http://mailto:jo@…`, all is an address.
    if login == "mailto" or password.lower() in {login, *_DEFAULT_LOGINS}:
        return False
    # A port and a path, as in `http://host:80;user@…`, or the next host of a list.
    is_port = password.isdigit() and len(password) <= _PORT_DIGITS
    return not is_port and "," not in login and not is_placeholder(password)


def _is_connection_password(found: re.Match[str]) -> bool:
    text, start, end = found.string, found.start(), found.end()
    if is_placeholder(found["secret"]) or re.search(r"[()\[\]]", found["secret"]):
        return False
    before = text[max(0, start - 110) : start].rpartition("\n")[2]
    # Behind a comma it may be an argument: f(user=user,password=secret); in a URL, a form's field.
    if before.endswith((",", "?", "&")) and not any(map(str.isdigit, found["secret"])):
        return False
    return bool(_PAIR_BEFORE.search(before)) and text[end : end + 1] != "("


def _is_option_value(found: re.Match[str]) -> bool:
    secret = found["secret"]
    return not is_placeholder(secret) and any(map(str.isdigit, secret)) and "(" not in secret


def _is_assigned_key(found: re.Match[str]) -> bool:
    secret = found["secret"]
    if is_placeholder(secret) or not has_random_look(secret):
        return False
    # Without quotes, `token=a.b2.c3` is a program; a date, a path or a version is none, either.
    return bool(found["mark"]) or not re.search(r"[./|~].*[./|~]|^\d+-\d", secret)


def _is_assigned_password(found: re.Match[str]) -> bool:
    secret = found["secret"]
    has_both = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))
    return has_both and not is_placeholder(secret) and not re.search(r"[(){}\[\]<>$\\]", secret)


def _is_authorization(found: re.Match[str]) -> bool:
    return has_random_look(found["secret"]) and not is_placeholder(found["secret"])


def _token(kind: SecretKind, hint: str, form: str) -> Rule:
    """Make a rule for a token that its own form tells apart."""
    return Rule(kind, hint, re.compile(f"{EDGE}(?P<secret>{form}){END}"), _is_real_token)


_GITLAB = "gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct)-"
_TOKENS = (
    _token("aws_key", "A(?:KIA|SIA|BIA|CCA|3T)[A-Z0-9]{16}", _AWS_ID),
    _token("github_token", "gh[pousr]_", r"gh[pousr]_[A-Za-z0-9]{36,255}+"),
    _token("github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}+"),
    _token(
        "gitlab_token",
        _GITLAB,
        rf"{_GITLAB}[A-Za-z0-9_-]{{20,100}}+(?:\.[a-z0-9]{{2}}\.[a-z0-9]{{9}})?+",
    ),
    _token("google_key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _token("google_key", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    _token("google_key", r"ya29\.", r"ya29\.[A-Za-z0-9_-]{20,2000}+"),
    _token("google_key", "1//0[A-Za-z0-9_-]{40}", r"1//0[A-Za-z0-9_-]{40,200}+"),
    _token("slack_token", "xox[abeoprs]-", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}+"),
    _token("slack_token", "xapp-[0-9]-", r"xapp-[0-9]-[A-Za-z0-9-]{20,250}+"),
    _token("stripe_key", "whsec_", r"whsec_[A-Za-z0-9+/]{32,100}+"),
    _token("stripe_key", "[sr]k_(?:live|test)_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,250}+"),
    _token(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{10}",
        r"eyJ[A-Za-z0-9_-]{10,2000}+\.e[w-z0-3][A-Za-z0-9_-]{11,4000}+\.[A-Za-z0-9_-]{10,1000}+",
    ),
    _token("api_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _token("api_token", "pypi-", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,1000}+"),
    _token("api_token", "hf_", r"hf_[A-Za-z]{34}"),
    _token("api_token", "sk-", r"sk-(?:ant-|proj-|svcacct-)[A-Za-z0-9_-]{20,250}+"),
    _token("api_token", "sk-", r"sk-[A-Za-z0-9]{48}"),
    _token("api_token", r"SG\.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _token("api_token", "SK[0-9a-f]{8}", r"SK[0-9a-f]{32}"),
    _token("api_token", "key-[0-9a-f]{8}", r"key-[0-9a-f]{32}"),
    _token("api_token", ":AA[A-Za-z0-9_-]{8}", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    _token("api_token", "dop_v1_", r"dop_v1_[a-f0-9]{64}"),
    _token("api_token", "shp(?:at|ca|pa|ss)_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _token("api_token", "EAACEdEose0cBA", r"EAACEdEose0cBA[A-Za-z0-9]{20,500}+"),
    _token(
        "api_token",
        r"[MNO][A-Za-z0-9_-]{22}",
        r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
    ),
)
CREDENTIAL_RULES = (
    Rule("private_key", "-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", _PEM, _is_key_block),
    *_TOKENS,
    Rule(
        "slack_token",
        r"hooks\.slack\.com",
        re.compile(
            r"hooks\.slack\.com/services/(?P<secret>T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/\w{20,30}+)"
        ),
        _is_real,
    ),
    Rule(
        "api_token",
        "/bot[0-9]{8,10}:AA",
        re.compile(rf"/bot(?P<secret>[0-9]{{8,10}}:AA[A-Za-z0-9_-]{{33}}){END}"),
        _is_real,
    ),
    Rule("url_password", r"://[^\s/:@]{0,100}:[^\s/]{1,200}@", _URL_PASSWORD, _is_url_password),
    Rule(
        "aws_key",
        f"(?i:{_AWS_NEAR.pattern})",
        _AWS_SECRET,
        _is_aws_secret,
    ),
    Rule(
        "azure_key",
        r"(?i:accountkey|sharedaccesskey) {0,3}= {0,3}[A-Za-z0-9+/]{40}",
        re.compile(
            r"(?:accountkey|sharedaccesskey) {0,3}= {0,3}(?P<secret>[A-Za-z0-9+/]{40,90}={0,2})",
            re.IGNORECASE,
        ),
        _is_real,
    ),
    Rule(
        "connection_password",
        r"(?i:password|pwd|sharedsecret) {0,3}= {0,3}[^;,\"' <>&]",
        _CONNECTION,
        _is_connection_password,
    ),
    Rule(
        "connection_password",
        r"--[a-z-]{0,6}(?:password|passwd|pass|token)[= ]|(?:-u|--user) {0,3}[\"']?[\w.@-]{1,60}:",
        _OPTION,
        _is_option_value,
    ),
    Rule(
        "assigned_secret",
        rf"(?i:key|secret|token|bearer){_HINTED_ASSIGNS}(?:[\"'`]|{_ENTITY})?[A-Za-z0-9+/=_.~|-]{{16}}",
        _ASSIGNED_KEY,
        _is_assigned_key,
    ),
    Rule(
        "assigned_secret",
        rf"(?i:password|passwd|passphrase|pwd){_HINTED_ASSIGNS}(?:[\"']|{_ENTITY})[^\"' ]{{6}}",
        _ASSIGNED_PASSWORD,
        _is_assigned_password,
    ),
    Rule(
        "assigned_secret",
        r"(?i:basic|bearer) {1,3}[A-Za-z0-9+/=._~-]{16}",
        _AUTHORIZATION,
        _is_authorization,
    ),
)
