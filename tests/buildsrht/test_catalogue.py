"""Images by name and alias, and a mistake in a recipe by its file."""

import pytest

from buildsrht import catalogue
from buildsrht.errors import OperatorError


@pytest.fixture
def load(tmp_path):
    """The catalogue of these recipes: name to the text of its image.yml."""

    def load_recipes(**recipes):
        for name, text in recipes.items():
            path = tmp_path / "debian" / name / "image.yml"
            path.parent.mkdir(parents=True)
            path.write_text(text)
        return catalogue.load(tmp_path)

    return load_recipes


def test_an_image_is_found_by_its_name_and_by_each_alias(load, tmp_path):
    images = load(trixie="aliases: [debian, debian/stable]\narches: [amd64, arm64]")

    [image] = images.images
    assert [images.find(name) for name in images.names] == [image] * 3
    assert images.names == ("debian", "debian/stable", "debian/trixie")
    assert (image.name, image.recipe) == ("debian/trixie", tmp_path / "debian" / "trixie")


def test_the_first_processor_is_the_default(load):
    [image] = load(trixie="arches: [arm64, amd64]").images

    assert (image.default_arch, image.arches, image.aliases) == ("arm64", ("arm64", "amd64"), ())


@pytest.mark.parametrize("name", ["debian/potato", "", "DEBIAN/trixie", "debian/trixie/"])
def test_an_unknown_name_is_no_image(load, name):
    assert load(trixie="arches: [amd64]").find(name) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs `arches`"),
        ("arches:", "arches must be a list of words, got None"),
        ("arches: amd64", "arches must be a list of words, got 'amd64'"),
        ("arches: []", "arches must name at least one processor"),
        ("arches: [64]", r"arches must be a list of words, got \[64\]"),
        ("arches: [amd64]\naliases: debian", "aliases must be a list of words"),
        ("- arches", "needs `arches`"),
        ("arches: [", "needs `arches`"),
        ("arches: [!!python/object:os.system amd64]", "needs `arches`"),
    ],
)
def test_a_mistake_is_told_with_its_file(load, tmp_path, text, problem):
    with pytest.raises(OperatorError, match=f"^{tmp_path}/debian/trixie/image.yml: {problem}"):
        load(trixie=text)


def test_an_alias_stands_for_one_image(load):
    with pytest.raises(OperatorError, match="alias debian already names debian/bookworm"):
        load(
            bookworm="{arches: [amd64], aliases: [debian]}",
            trixie="{arches: [x], aliases: [debian]}",
        )


def test_an_alias_may_not_hide_an_image(load):
    with pytest.raises(OperatorError, match="alias debian/trixie already names debian/trixie"):
        load(bookworm="{arches: [amd64], aliases: [debian/trixie]}", trixie="arches: [amd64]")


def test_a_place_without_recipes_is_a_mistake(load, tmp_path):
    with pytest.raises(OperatorError, match=rf"\[images\] recipes: no .* below {tmp_path}"):
        load()
