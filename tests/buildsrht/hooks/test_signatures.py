"""Whose word it is: each forge's proof, and the ways in which one can be wrong."""

import hashlib
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from buildsrht.errors import Unauthorized
from buildsrht.hooks.signatures import CLOCK_SECONDS, verify
from buildsrht.models import Forge
from tests.buildsrht.hooks.reports import (
    NONCE,
    SOURCEHUT_KEY,
    SOURCEHUT_PUBLIC_KEY,
    gitea_headers,
    github_headers,
    gitlab_headers,
    gitlab_signed_headers,
    sourcehut_headers,
)

BODY = b'{"ref": "refs/heads/main"}'
SECRET = "whsec_" + "c2VjcmV0" * 5
OTHER = "whsec_" + "b3RoZXIh" * 5
STRANGER = Ed25519PrivateKey.generate()

# Every forge with its secret, another one, and how it makes its headers.
PROOFS = [
    pytest.param(Forge.GITHUB, SECRET, OTHER, github_headers, id="github"),
    pytest.param(Forge.GITEA, SECRET, OTHER, gitea_headers, id="gitea"),
    pytest.param(Forge.GITLAB, SECRET, OTHER, gitlab_headers, id="gitlab"),
    pytest.param(Forge.GITLAB, SECRET, OTHER, gitlab_signed_headers, id="gitlab-signed"),
    pytest.param(Forge.SOURCEHUT, SOURCEHUT_KEY, STRANGER, sourcehut_headers, id="sourcehut"),
]


def known(key):
    """What the hook has: of sourcehut's key the public half."""
    return SOURCEHUT_PUBLIC_KEY if key is SOURCEHUT_KEY else key


@pytest.mark.parametrize(("forge", "key", "other", "headers"), PROOFS)
def test_a_genuine_report_is_let_in(forge, key, other, headers):
    assert verify(forge, known(key), headers(key, BODY), BODY)


@pytest.mark.parametrize(("forge", "key", "other", "headers"), PROOFS)
def test_a_report_for_another_hook_is_refused(forge, key, other, headers):
    with pytest.raises(Unauthorized):
        verify(forge, known(key), headers(other, BODY), BODY)


@pytest.mark.parametrize(("forge", "key", "other", "headers"), PROOFS)
def test_a_report_without_any_proof_is_refused(forge, key, other, headers):
    with pytest.raises(Unauthorized):
        verify(forge, known(key), {}, BODY)


@pytest.mark.parametrize(("forge", "key", "other", "headers"), PROOFS)
@pytest.mark.parametrize("nonsense", ["", "ä", "x", "sha256=", "v1,", "=", "\x00"])
def test_a_proof_that_is_none_is_refused(forge, key, other, headers, nonsense):
    with pytest.raises(Unauthorized):
        verify(forge, known(key), dict.fromkeys(headers(key, BODY), nonsense), BODY)


# A GitLab that does not sign sends its secret with whatever it says.
@pytest.mark.parametrize(
    ("forge", "key", "other", "headers"), [each for each in PROOFS if each.id != "gitlab"]
)
def test_a_report_that_was_changed_on_its_way_is_refused(forge, key, other, headers):
    with pytest.raises(Unauthorized):
        verify(forge, known(key), headers(key, BODY), BODY + b" ")


@pytest.mark.parametrize(
    ("forge", "headers"), [("github", github_headers), ("gitea", gitea_headers)]
)
def test_a_report_keeps_its_name_whatever_the_unsigned_headers_say(forge, headers):
    first = headers(SECRET, BODY)
    again = {**first, "x-github-delivery": "another", "x-gitea-delivery": "another"}

    names = {verify(Forge(forge), SECRET, each, BODY) for each in (first, again)}

    assert names == {hashlib.sha256(BODY).hexdigest()}


@pytest.mark.parametrize("name", ["x-gitea-signature", "x-forgejo-signature"])
def test_gitea_and_forgejo_need_one_good_signature(name):
    digest = gitea_headers(SECRET, BODY)["x-gitea-signature"]

    assert verify(Forge.GITEA, SECRET, {name: digest}, BODY)


@pytest.mark.parametrize(
    "name", ["x-gitea-signature", "x-forgejo-signature", "x-hub-signature-256"]
)
def test_a_good_signature_does_not_make_up_for_a_bad_one(name):
    with pytest.raises(Unauthorized):
        verify(Forge.GITEA, SECRET, {**gitea_headers(SECRET, BODY), name: "0" * 64}, BODY)


def test_the_weaker_signature_of_old_is_not_looked_at():
    with pytest.raises(Unauthorized):
        verify(Forge.GITHUB, SECRET, {"x-hub-signature": "sha1=" + "0" * 40}, BODY)


# --- GitLab -----------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [gitlab_headers, gitlab_signed_headers])
def test_gitlabs_name_for_a_report_is_taken(headers):
    assert verify(Forge.GITLAB, SECRET, headers(SECRET, BODY), BODY) == "first"


@pytest.mark.parametrize("name", ["", "a b", "x" * 200])
def test_a_report_of_gitlab_without_a_usable_name_is_known_by_its_body(name):
    headers = {**gitlab_headers(SECRET, BODY), "idempotency-key": name}

    assert verify(Forge.GITLAB, SECRET, headers, BODY) == hashlib.sha256(BODY).hexdigest()


def test_a_gitlab_that_signs_has_to_sign_well_whatever_token_it_sends():
    headers = {
        **gitlab_headers(SECRET, BODY),
        **gitlab_signed_headers(OTHER, BODY),
    }
    with pytest.raises(Unauthorized):
        verify(Forge.GITLAB, SECRET, headers, BODY)


def test_one_of_several_signatures_is_enough_while_a_key_changes():
    headers = gitlab_signed_headers(SECRET, BODY)
    headers["webhook-signature"] = f"v1,b3RoZXI= {headers['webhook-signature']}"

    assert verify(Forge.GITLAB, SECRET, headers, BODY)


@pytest.mark.parametrize("seconds", [-CLOCK_SECONDS - 10, CLOCK_SECONDS + 10])
def test_a_signature_of_another_time_is_refused(seconds):
    headers = gitlab_signed_headers(SECRET, BODY, at=time.time() + seconds)

    with pytest.raises(Unauthorized, match="300 seconds from now"):
        verify(Forge.GITLAB, SECRET, headers, BODY)


# --- sourcehut --------------------------------------------------------------------------------


def test_sourcehuts_report_is_known_by_its_nonce():
    headers = sourcehut_headers(SOURCEHUT_KEY, BODY)

    assert verify(Forge.SOURCEHUT, SOURCEHUT_PUBLIC_KEY, headers, BODY) == NONCE


@pytest.mark.parametrize("moved", [1, 2, 16])
def test_no_new_nonce_can_be_made_of_bytes_of_the_body(moved):
    headers = sourcehut_headers(SOURCEHUT_KEY, BODY)
    headers["x-payload-nonce"] = BODY[-moved:].decode() + NONCE

    with pytest.raises(Unauthorized, match="X-Payload-Nonce"):
        verify(Forge.SOURCEHUT, SOURCEHUT_PUBLIC_KEY, headers, BODY[:-moved])
