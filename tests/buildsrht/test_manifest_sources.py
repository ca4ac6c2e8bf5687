"""The grammar of one source: `[directory::][scm+]url[#ref]`."""

import re

import pytest

from buildsrht.manifest import Source
from buildsrht.manifest.sources import parse_source


@pytest.mark.parametrize(
    ("text", "url", "directory"),
    [
        ("https://example.org/~ann/tool", "https://example.org/~ann/tool", "tool"),
        ("https://example.org/tool.git", "https://example.org/tool.git", "tool"),
        ("https://example.org/tool/", "https://example.org/tool/", "tool"),
        ("https://example.org/tool?x=1", "https://example.org/tool?x=1", "tool"),
        ("http://example.org/a/b.c", "http://example.org/a/b.c", "b.c"),
        ("git://example.org:9418/tool", "git://example.org:9418/tool", "tool"),
        ("file:///srv/git/tool.git", "file:///srv/git/tool.git", "tool"),
        ("ssh://git@example.org:22/tool", "ssh://git@example.org:22/tool", "tool"),
        ("git+ssh://git@example.org/tool", "ssh://git@example.org/tool", "tool"),
        ("git@example.org:~ann/tool.git", "git@example.org:~ann/tool.git", "tool"),
        ("git@example.org:tool", "git@example.org:tool", "tool"),
        ("git@[2001:db8::1]:tool", "git@[2001:db8::1]:tool", "tool"),
        ("https://[2001:db8::1]/tool", "https://[2001:db8::1]/tool", "tool"),
    ],
)
def test_the_directory_is_named_after_the_repository(text, url, directory):
    assert parse_source(text) == Source(url, "git", directory, None)


@pytest.mark.parametrize("directory", ["there", "a/b", "tool.git", "./a", ".a", "a b", "a..b"])
def test_an_explicit_directory_is_kept_as_it_is(directory):
    source = parse_source(f"{directory}::https://example.org/tool.git")
    assert source == Source("https://example.org/tool.git", "git", directory, None)


def test_mercurial_is_asked_for_by_a_prefix():
    source = parse_source("here::hg+https://example.org/tool#tip")
    assert source == Source("https://example.org/tool", "hg", "here", "tip")


@pytest.mark.parametrize("ref", ["main", "1.10", "refs/tags/v1", "a::b", "fix-#12", "c++"])
def test_a_ref_is_all_that_follows_the_first_hash(ref):
    assert parse_source(f"https://example.org/tool#{ref}").ref == ref


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the url must have 1 to 2,048 characters, not 0"),
        ("tool", "the url must be like https://host/path or user@host:path"),
        ("/srv/git/tool", "the url must be like https://host/path or user@host:path"),
        ("example.org:tool", "the url must be like https://host/path or user@host:path"),
        (
            "ftp://example.org/tool",
            "the url must begin with https:// or http:// or git:// or ssh:// or file://",
        ),
        ("https:///tool", "the url must name a host"),
        ("https://example.org", "the url names no repository"),
        ("https://example.org/.git", "the url names no repository"),
        ("https://example.org:99999/tool", "the url is not a valid URL"),
        ("svn+https://example.org/tool", "the scm 'svn' must be one of git, hg"),
        ("https://example.org/tool#", "the ref must have 1 to 255 characters, not 0"),
        ("::https://example.org/tool", "the directory must have 1 to 1,024 characters, not 0"),
        ("/tmp/x::https://example.org/tool", "the directory must be inside the home directory"),
        ("../x::https://example.org/tool", "the directory must be inside the home directory"),
        ("a/../x::https://example.org/tool", "the directory must be inside the home directory"),
        (".::https://example.org/tool", "the directory must be inside the home directory"),
        ("https://example.org/..", "the directory must be inside the home directory"),
        (
            "a\nb::https://example.org/tool",
            "the directory may not contain line breaks or control characters",
        ),
    ],
)
def test_what_cannot_be_cloned_into_the_home_directory_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_source(text)


@pytest.mark.parametrize(
    "text",
    [
        "--upload-pack=touch",
        "git+--upload-pack=touch",
        "-c::https://example.org/tool",
        "https://example.org/tool#--help",
        "https://example.org/tool#main --help",
        "https://example.org/tool#main\n--help",
        "https://example.org/-rf",
        "ssh://-oProxyCommand=touch/tool",
        "ssh://git@-oProxyCommand=touch/tool",
        "git@-oProxyCommand=touch:tool",
        "https://example.org/to ol",
        "https://example.org/to\tol",
        "https://example.org/to\x7fol",
        "a::ext::touch",
    ],
)
def test_no_part_can_be_taken_for_an_option_or_a_command(text):
    with pytest.raises(ValueError, match=r"^the (url|ref|directory) "):
        parse_source(text)
