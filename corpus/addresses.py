"""Rules for what reaches a person or a machine: e-mail and public IP addresses, phone numbers.

Kept as they are: addresses made for documentation (example.com, 192.0.2.0/24, 2001:db8::/32, 555
numbers), private ranges, public resolvers, service logins (git@github.com), and what only looks
like an address: version numbers, section numbers, decorators, package@version, R's object@slot.
"""

from __future__ import annotations

import ipaddress
import re

from corpus.rules import Rule

# Domains of the last label that mail is sent to: all of two letters, and these. Without the list
# R's `object@scale.data` would be one.
_TOP = (
    "com org net edu gov mil int info biz name pro aero coop mobi asia jobs travel museum tel cat "
    "post arpa xyz online site tech store shop club app dev cloud blog email live life world news "
    "space website agency digital solutions company systems services network software media "
    "studio design group team works center academy global today guru consulting engineering "
    "university school health care bank law legal expert academy london berlin paris wien koeln "
    "hamburg nyc tokyo swiss africa eus gal scot one top icu link page art fun ltd llc gmbh inc "
    "zone host press rocks science social support technology tools wiki"
)
_TOP_DOMAINS = frozenset(_TOP.split())
_LOGINS = (
    "git hg svn bzr gitlab gitolite anonymous noreply no-reply donotreply do-not-reply user "
    "username root someuser youruser myuser login test testing tester myemail my.email youremail "
    "your.email sample example abc abcd email someone somebody someemail destemail xxx name nobody "
    "yourname your.name your_name myname firstname.lastname first.last foo bar"
)
_NOBODYS_LOGINS = frozenset(_LOGINS.split())
_PLACEHOLDER_TOP = frozenset({"example", "test", "invalid", "localhost", "local", "localdomain"})
_PLACEHOLDER_LABEL = re.compile(
    r".*example.*|.|(?:(?:your|my|our|some|the|a|any|other)-?)?"
    r"(?:domain|domainname|company|site|website|host|hostname|server|mailserver|mail|email|"
    r"organization|test|foo|bar|baz|foobar|abc|xyz|blah|acme|contoso|fabrikam|address|admin)"
)
_MESSAGE_ID_DIGITS = 12
_LABELS = r"[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+){1,8}+"
_EMAIL = re.compile(
    r"(?:(?<![A-Za-z0-9_+%-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
    rf"(?P<secret>(?P<login>[A-Za-z0-9_][A-Za-z0-9._+-]{{0,63}}+)(?:@|%40)(?P<domain>{_LABELS}))"
)
_AT = r"[ ]?(?:\[|\(|\{)[ ]?(?:at|AT|@)[ ]?(?:\]|\)|\})[ ]?"
_DOT = r"(?:\.|[ ]?(?:\[|\(|\{)[ ]?(?:dot|DOT|\.)[ ]?(?:\]|\)|\})[ ]?)"
_VEILED_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9_+-])(?P<secret>(?P<login>[A-Za-z0-9_][A-Za-z0-9._+-]{{0,63}}+){_AT}"
    rf"(?P<domain>[A-Za-z0-9-]{{1,63}}+(?:{_DOT}[A-Za-z0-9-]{{1,63}}+){{1,4}}+))"
)
_DOTS = re.compile(_DOT)
_URL_LOGIN = re.compile(r"://(?!mailto:)[^\s/@:]{0,100}:[^\s/@]{0,100}$")

# Behind the end of an escape, too: `\\n93.184.…`.
_EDGE = r"(?:(?<![A-Za-z0-9_.])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_IPV4 = re.compile(
    rf"{_EDGE}(?P<secret>[0-9]{{1,3}}+(?:\.[0-9]{{1,3}}+){{3}}+)(?![A-Za-z0-9_]|\.[0-9])"
)
_IPV6 = re.compile(
    rf"(?<!:){_EDGE}(?P<secret>[23][0-9A-Fa-f]{{3}}(?:::?[0-9A-Fa-f]{{1,4}}+){{1,7}}+(?:::)?+)"
    # What it says of an address may follow a colon: `2a02:…: no answer`.
    r"(?![A-Za-z0-9_]|:[A-Za-z0-9_:])"
)
# Of numbers all below this, nearly all are versions and sections; of addresses, 1 in 4,000.
_VERSION_BELOW = 32
_VERSIONED = (
    "v ver version versions assemblyversion fileversion release rel rev revision build firmware fw "
    "sdk driver drivers chrome firefox safari opera flash player plugin oid doi section sec sect "
    "chapter clause rule java jdk jre php mysql mariadb oracle python ruby rails gem node npm pip "
    "bios kernel patch update upgrade product package"
)
_VERSION_WORDS = frozenset(_VERSIONED.split())
# These make a version of what follows on their line, too: `kernel versions: 2.6.32 up to …`.
_VERSION_TOPICS = frozenset({"kernel", "version", "versions"})
_TOPIC_CHARACTERS = 48
_VERSION_SIGNS = re.compile(r"[A-Za-z0-9][-/_]|[A-Za-z0-9_\]](?:==|~=|>=|<=|\^)|[§^~] ?")
_PORT = re.compile(r":[0-9]{2,5}(?![A-Za-z0-9_]|\.[0-9])")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_VERSION_AFTER = re.compile(
    r"[-_+~][A-Za-z]|\.(?:jar|war|zip|t?gz|tar|bz2|7z|exe|msi|dll|so|deb|rpm|dmg|pkg|apk|whl|egg|"
    r"nupkg|pdf|html?|js|css|min)"
)
_PUBLIC = (
    "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
    "4.2.2.1 4.2.2.2 4.2.2.3 4.2.2.4 64.6.64.6 64.6.65.6 84.200.69.80 84.200.70.40 94.140.14.14 "
    "2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111 2606:4700:4700::1001 "
    "2620:fe::fe 2620:fe::9 2620:119:35::35 2620:119:53::53"
)
_RESOLVERS = frozenset(_PUBLIC.split())
# What ASN.1 object ids begin with: 1.3.101.110 is a kind of key.
_OBJECT_IDS = ("1.2.", "1.3.", "2.5.", "2.16.")
# Written by people who had to write something: 12.34.56.78.
_INVENTED = (
    "11.22.33.44 12.34.56.78 12.34.56.89 23.45.67.89 34.56.78.90 45.67.89.10 123.45.67.89 "
    "123.45.67.8 123.456.78.90 98.76.54.32 123.4.5.6 1.2.3.255 100.100.100.101 "
    "111.222.111.222 123.123.123.124 121.121.121.121 99.88.77.66 44.33.22.11 55.66.77.88"
)
_MADE_UP = frozenset(_INVENTED.split())
_DOCUMENTATION_V6 = (ipaddress.IPv6Network("2001:db8::/32"), ipaddress.IPv6Network("3fff::/20"))

_GROUPS = r"(?:[ .-]?\([0-9 ]{1,5}\))?+(?:[ .-]?[0-9]{1,5}+){1,6}+"
_PHONE = re.compile(
    rf"(?:(?<![+/-])|(?<=tel://)){_EDGE}(?P<secret>(?:"
    rf"(?:\+[1-9][0-9]{{0,2}}|\(\+[1-9][0-9]{{0,2}}\)){_GROUPS}|"
    r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}(?P<mark>[.-]))[2-9][0-9]{2}[. -][0-9]{4}"
    r"))(?![A-Za-z0-9_%]|[.,:/-][0-9])"
)
_NAMED_PHONE = re.compile(
    r"(?<![A-Za-z])(?:phone|tel|telephone|mobile|cell|cellphone|whatsapp|fax)(?: ?(?:no|number|#))?"
    r"\.?[ ]?[:=#]?[ ]{0,2}[\"']?(?P<secret>\(?\+?0[0-9()]{1,5}+(?:[ ./-]{1,2}[0-9()]{2,6}+){1,5}+)"
    r"(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_MADE_UP_PHONE = re.compile(r"(?:1?)?[0-9]{3}555[0-9]{4}|.*(?:1234567|0123456|(\d)\1{5}).*")


def _is_email(found: re.Match[str]) -> bool:
    labels = _DOTS.sub(".", found["domain"]).lower().strip("-.").split(".")
    top = labels[-1]
    if not (top in _TOP_DOMAINS or (len(top) == 2 and top.isalpha())):
        return False
    login = found["login"].lower()
    if login in _NOBODYS_LOGINS or _is_placeholder_domain(labels):
        return False
    # The id of a message, as links into archives have it, is written like an address.
    if sum(map(str.isdigit, login)) >= _MESSAGE_ID_DIGITS:
        return False
    # What stands before @ in a URL is a password, or the word for one.
    return not _URL_LOGIN.search(found.string, max(0, found.start() - 205), found.start())


def _is_placeholder_domain(labels: list[str]) -> bool:
    # Of mail.foo.co.uk it is foo that says whose it is.
    is_paired = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    own = labels[-3] if is_paired else labels[-2]
    return labels[-1] in _PLACEHOLDER_TOP or bool(_PLACEHOLDER_LABEL.fullmatch(own))


def _is_public_v4(found: re.Match[str]) -> bool:
    quad = found["secret"]
    numbers = [int(part) for part in quad.split(".")]
    has_zeros = any(len(part) > 1 and part[0] == "0" for part in quad.split("."))
    if has_zeros or max(numbers) > 255 or max(numbers) < _VERSION_BELOW:
        return False
    if quad in _RESOLVERS or quad in _MADE_UP or len(set(numbers)) == 1 or numbers[2:] == [0, 0]:
        return False
    if numbers[0] >= 224 or not ipaddress.IPv4Address(quad).is_global:
        return False
    if quad.startswith(_OBJECT_IDS):
        return False
    return not _is_version(found)


def _is_version(found: re.Match[str]) -> bool:
    text, start = found.string, found.start("secret")
    # As Java writes it: host/93.184.215.14:9000.
    has_port = _PORT.match(text, found.end("secret"))
    if has_port or text[max(0, start - 2) : start] == "//":
        return False
    signs = (_VERSION_SIGNS.fullmatch(text[max(0, start - num) : start]) for num in (1, 2, 3))
    if any(signs) or _VERSION_AFTER.match(text, found.end("secret")):
        return True
    line = text[max(0, start - _TOPIC_CHARACTERS) : start].lower().rpartition("\n")[2]
    words = _NOT_LETTERS.split(line.rstrip(" \t:=\"'(#."))
    return words[-1] in _VERSION_WORDS or not _VERSION_TOPICS.isdisjoint(words)


def _is_public_v6(found: re.Match[str]) -> bool:
    groups = found["secret"].split(":")
    try:
        address = ipaddress.IPv6Address(found["secret"])
    except ValueError:
        return False
    if sum(map(bool, groups)) < 3 or str(address) in _RESOLVERS:
        return False
    return address.is_global and not any(address in network for network in _DOCUMENTATION_V6)


def _is_phone(found: re.Match[str]) -> bool:
    number = found["secret"]
    digits = re.sub(r"[^0-9]", "", number)
    if not 8 <= len(digits) <= 15 or _MADE_UP_PHONE.fullmatch(digits):
        return False
    # A number with a sign: +2.52063189, +12345678.
    if re.fullmatch(r"\+[0-9]+(?:\.[0-9]+)?", number):
        return len(digits) >= 9 and "." not in number
    return True


ADDRESS_RULES = (
    Rule("email", r"[A-Za-z0-9._+-](?:@|%40)[A-Za-z0-9]", _EMAIL, _is_email),
    Rule("email", r"[\[({] ?(?:at|AT|@) ?[\])}]", _VEILED_EMAIL, _is_email),
    Rule("ipv4", r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", _IPV4, _is_public_v4),
    Rule("ipv6", r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:", _IPV6, _is_public_v6),
    Rule(
        "phone",
        r"\+[1-9][0-9 ().-]{7}|[2-9][0-9][0-9](?:\) ?|[.-])[2-9][0-9][0-9][. -][0-9]{4}",
        _PHONE,
        _is_phone,
    ),
    Rule(
        "phone",
        r"(?i)(?:phone|tel|mobile|cell|whatsapp|fax)[a-z #.:='\"]{0,20}[(]?[+]?0[0-9]",
        _NAMED_PHONE,
        _is_phone,
    ),
)
