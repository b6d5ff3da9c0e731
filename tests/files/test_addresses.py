"""Which hosts may be reached."""

import random
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import cycle

import pytest

from gesso.core.pictures import PictureFault
from gesso.files.addresses import REFUSED_V4, REFUSED_V6, Policy, follow, is_allowed, parse, resolve

pytestmark = pytest.mark.anyio

BAD = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
GOOD = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "192.0.1.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
]

MISSPELT = """\
example.com/a.png|/a.png|//example.com/a.png|file:///etc/passwd|ftp://example.com/|http://example.com/|https:///a.png
https://?x|https://good.example\\@127.0.0.1/|https://user@example.com/|https://user:secret@example.com/
https://%31%32%37.0.0.1/|https://127.0.0.1%00.good.example/|https://[::1|https://::1/|https://[127.0.0.1]/
https://[fe80::1%25eth0]/|https://example.com:0x50/|https://example.com:-1/|https://example.com:443:80/
https://example.com:/|https://xn--/a.png|https://a..b/|https://-a.example/|https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/
https://127\u30020\u30020\u30021/|https://example\uff0ecom/|https://example.com/\ud800|https://\ud800.example/
https://example.com/\u753b\u50cf.png|data:image/png;base64,AAAA|javascript:alert(1)|https://.|https://
""".replace("\n", "|").split("|")
SPLIT = [
    "https://good\n.example/a",
    "https://good.example/\ta",
    "https://good.example/\r\nX: y",
    "https://good.example/ a",
]
PADDED = [
    " https://example.com/a.png",
    "https://example.com/a.png ",
    "https://example.com/\0",
    "https://ex\tample.com/",
]
LITERALS = [
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F000001",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0",
    "00.0.0.0",
    "127.0.0.1.",
    "1.2.3.4.5",
    "999.1.1.1",
    "a.1",
    "a.0x1",
]


@pytest.mark.parametrize("address", BAD)
def test_a_private_or_special_address_is_refused(address):
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize("address", GOOD)
def test_a_public_address_is_allowed(address):
    assert is_allowed(ip_address(address))


def test_the_table_refuses_whatever_python_knows_not_to_be_global():
    numbers = random.Random(1)
    edges = {int(edge) + step for net in REFUSED_V4 for edge in (net[0], net[-1]) for step in (-1, 0, 1)}
    addresses = [IPv4Address(edge) for edge in edges if 0 <= edge < 2**32]
    addresses += [IPv4Address(numbers.getrandbits(32)) for _ in range(20_000)]
    addresses += [IPv6Address(numbers.getrandbits(128)) for _ in range(5_000)]
    addresses += [IPv6Address(int(net[0]) + numbers.getrandbits(64)) for net in REFUSED_V6 for _ in range(100)]

    assert [each for each in addresses if is_allowed(each) and not each.is_global] == []


@pytest.mark.parametrize("address", BAD)
def test_a_literal_address_is_judged_before_anything_is_resolved(address):
    with pytest.raises(PictureFault) as fault:
        parse(f"https://[{address}]/" if ":" in address else f"https://{address}/", Policy())

    assert fault.value.type == "url_not_allowed"


@pytest.mark.parametrize("host", LITERALS)
def test_a_number_that_the_system_would_read_as_an_address_is_no_name(host):
    with pytest.raises(PictureFault) as fault:
        parse(f"https://{host}/", Policy())

    assert fault.value.type == "url_not_allowed"


@pytest.mark.parametrize("url", [*MISSPELT, *SPLIT, *PADDED])
def test_a_url_that_parsers_could_read_differently_is_refused(url):
    with pytest.raises(PictureFault) as fault:
        parse(url, Policy())

    assert fault.value.type == "image_uri"


@pytest.mark.parametrize("port", ["22", "25", "80", "6379", "0", "99999"])
def test_a_port_that_is_not_on_the_list_is_refused(port):
    with pytest.raises(PictureFault) as fault:
        parse(f"https://example.com:{port}/", Policy())

    assert fault.value.type == "url_not_allowed"


@pytest.mark.parametrize(
    ("url", "rebuilt"),
    [
        ("HTTPS://Example.COM/A.png", "https://example.com/A.png"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com?a=@b:c", "https://example.com/?a=@b:c"),
        ("https://example.com:443/a?b#c", "https://example.com/a?b"),
        ("https://example.com./a.png", "https://example.com/a.png"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/@me/a%20b.png?x=%2F", "https://8.8.8.8/@me/a%20b.png?x=%2F"),
        ("https://[2606:4700:4700:0::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://my_bucket.storage.example/a", "https://my_bucket.storage.example/a"),
    ],
)
def test_a_good_url_is_rebuilt_from_its_checked_parts(url, rebuilt):
    assert parse(url, Policy()).url == rebuilt


def test_a_url_has_at_most_8192_characters():
    assert parse("https://example.com/".ljust(8192, "a"), Policy())
    with pytest.raises(PictureFault):
        parse("https://example.com/".ljust(8193, "a"), Policy())


def test_plain_http_is_opened_by_the_policy_alone():
    target = parse("http://example.com/a", Policy(allow_http=True))

    assert (target.url, target.port) == ("http://example.com/a", 80)


def test_a_host_on_the_list_may_be_private_and_no_other():
    policy = Policy(allow_hosts=("nas.home.arpa", "*.lan.example", "10.0.0.5"))

    assert parse("https://10.0.0.5/", policy).address == "10.0.0.5"
    hosts = ["nas.home.arpa", "a.lan.example", "lan.example", "evil-lan.example", "10.0.0.50"]
    assert [policy.opens(host) for host in hosts] == [True, True, False, False, False]


ELSEWHERE = ["http://example.com/", "file:///etc/passwd", "https://example.com:22/", "https://169.254.169.254/"]
CROOKED = ["//127.0.0.1/", "/a\r\nX: y", "https://user@example.com/", "", "/a\tb", "//[", "\\\\127.0.0.1/"]


@pytest.mark.parametrize("location", ELSEWHERE + CROOKED)
def test_a_redirect_is_judged_like_any_url(location):
    with pytest.raises(PictureFault) as fault:
        follow(parse("https://example.com/a/b", Policy()), location, Policy())

    assert fault.value.type == "url_not_allowed"


def test_a_redirect_may_be_relative():
    assert follow(parse("https://example.com/a/b?c", Policy()), "../d?e#f", Policy()).url == "https://example.com/d?e"


@pytest.mark.parametrize("found", ["127.0.0.1", "8.8.8.8 10.0.0.1", "::1", "2606:4700::1 ::ffff:10.0.0.1", "fe80::1%1"])
async def test_a_name_is_refused_when_any_of_its_addresses_is(found):
    with pytest.raises(PictureFault) as fault:
        await resolve(parse("https://images.example/", Policy()), Policy(), lambda _: found.split())

    assert fault.value.type == "url_not_allowed"


@pytest.mark.parametrize("found", [[], ["8.8.8.8"] * 1000])
async def test_a_name_with_no_address_or_a_thousand_leads_nowhere(found):
    with pytest.raises(OSError, match="no address"):
        await resolve(parse("https://images.example/", Policy()), Policy(), lambda _: found)


async def test_a_name_that_flips_never_leads_to_its_private_address():
    asked, answers = [], cycle([["8.8.8.8"], ["127.0.0.1"]])
    target, reached = parse("https://images.example/", Policy()), set()
    for _ in range(10_000):
        try:
            reached |= set(await resolve(target, Policy(), lambda host: asked.append(host) or next(answers)))
        except PictureFault:
            reached.add("refused")

    assert reached == {"8.8.8.8", "refused"}
    assert len(asked) == 10_000
