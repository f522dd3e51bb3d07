from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.unit.platforms.docker.engines import Image, engine
from winnow.config.errors import InputError
from winnow.config.own_files import CLONE
from winnow.config.version import __version__
from winnow.platforms.docker.build import PROJECT, project_id, source_folder
from winnow.platforms.docker.train_image import CODE, NAMED, check, code_digest, lend_source, plan, project_tag
from winnow.platforms.images import BuildOptions, TrainImagesRequest

PYPROJECT = '[project]\nname = "winnow"\noptional-dependencies = {gcs = ["x"], mysql = ["y"]}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "Dockerfile.train": "FROM x",
        "pyproject.toml": PYPROJECT,
        "requirements.lock": "x==1",
        "requirements/mine.txt": "x",
        "src/winnow/part.py": "A = 1",
        "my_model.py": "B = 1",
        "README.md": "text",
        "experiments/a.yaml": "name: a",
    }
    folder = tmp_path / "project"
    write(folder, files)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_workers_image_is_built_from_the_whole_folder_and_says_from_which_code(project: Path) -> None:
    request = TrainImagesRequest(
        project,
        BuildOptions(base_image="cuda:12", registry="registry.example/team/"),
        torch_index="https://index.example/cu130",
        requirements="requirements/mine.txt",
        extras=("gcs",),
        tag="blue",
        revision="c0ffee",
    )
    made = plan(request, "train")
    assert (made.dockerfile, made.context, made.target) == (project / "Dockerfile.train", project, "train")
    assert made.tags == ("winnow-train:blue", "registry.example/team/winnow-train:blue")
    assert made.arguments == {
        "BASE_IMAGE": "cuda:12",
        "EXTRAS": "gcs",
        "TORCH_INDEX": "https://index.example/cu130",
        "REQUIREMENTS": "requirements/mine.txt",
        "VERSION": __version__,
    }
    assert made.labels == {
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.revision": "c0ffee",
        PROJECT: project_id(project),
        CODE: code_digest(project, "requirements/mine.txt"),
        NAMED: "requirements/mine.txt",
    }


def test_the_tracking_servers_image_does_not_change_with_the_code(project: Path) -> None:
    made = plan(TrainImagesRequest(project, torch_index="https://index.example/cu130"), "tracking")
    assert (made.tags, made.arguments) == ((f"winnow-tracking:{project_tag(project)}",), {})
    assert made.labels == {"org.opencontainers.image.version": __version__, PROJECT: project_id(project)}


def test_projects_on_one_engine_have_images_of_their_own(project: Path) -> None:
    other = project.parent / "elsewhere" / "My Project"
    shutil.copytree(project, other)
    assert [project_tag(each) for each in (project, other)] == [
        f"project-{project_id(project)}",
        f"my-project-{project_id(other)}",
    ]
    assert project_id(project) != project_id(other)
    built_by_other = engine(Image("sha256:ab", [*plan(TrainImagesRequest(other), "train").tags]))
    with pytest.raises(InputError, match=r"found none of that name\. Make it with"):
        check(built_by_other, None, project)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"extras": ["azure", "gcs"]}, r"--extras: expected extras .*, found 'azure'\."),
        ({"requirements": "none.txt"}, r"--requirements: expected a requirements file .*, found 'none\.txt'\."),
        ({"requirements": "../outside.txt"}, r"--requirements: .*, found '\.\./outside\.txt'\."),
    ],
)
def test_what_is_not_there_is_refused(project: Path, given: dict[str, object], message: str) -> None:
    (project.parent / "outside.txt").touch()
    with pytest.raises(InputError, match=message):
        plan(TrainImagesRequest(project, **given), "train")  # type: ignore[arg-type]


def test_a_project_outside_the_clone_is_the_context_with_a_copy_of_winnows_source(tmp_path: Path) -> None:
    write(tmp_path, {"data.py": "A = 1", ".winnow/source/old.py": ""})
    made = plan(TrainImagesRequest(tmp_path), "train")
    assert (made.dockerfile, made.context) == (CLONE / "Dockerfile.train", tmp_path)
    assert made.arguments == {"VERSION": __version__, "WINNOW": ".winnow/source"}
    lend_source(made)
    copy = tmp_path / ".winnow/source"
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        ["LICENSE", "airflow", "README.md", "pyproject.toml", "requirements.lock", "src"]
    )
    assert (copy / "src/winnow/__main__.py").is_file()
    assert list(copy.rglob("__pycache__")) == []
    tracking = plan(TrainImagesRequest(tmp_path), "tracking")
    assert (tracking.context, tracking.arguments) == (CLONE, {})
    assert tracking.tags == (f"winnow-tracking:{project_tag(tmp_path)}",)


def test_a_clone_needs_no_copy_of_its_source(project: Path) -> None:
    lend_source(plan(TrainImagesRequest(project), "train"))
    assert not (project / ".winnow").exists()


def test_the_code_of_a_project_outside_the_clone_includes_winnows(tmp_path: Path) -> None:
    other = tmp_path / "project"
    write(other, {"data.py": "A = 1"})
    alone = hashlib.sha256(f"data.py {hashlib.sha256(b'A = 1').hexdigest()}\n".encode()).hexdigest()
    assert code_digest(other) != alone


def test_without_a_clone_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Dockerfile\.train: expected a file of a clone of winnow"):
        source_folder(tmp_path, "Dockerfile.train", clone=tmp_path / "site-packages")


@pytest.mark.parametrize(
    "files",
    [
        {"my_model.py": "B = 2"},
        {"new/part.py": ""},
        {"requirements-gpu.txt": "y"},
        {"requirements.lock": "x==2"},
        {"Dockerfile.train": "FROM y"},
    ],
)
def test_other_code_has_another_digest(project: Path, files: dict[str, str]) -> None:
    before = code_digest(project)
    write(project, files)
    assert code_digest(project) != before


def test_what_is_no_code_does_not_change_the_digest(project: Path) -> None:
    before = code_digest(project)
    write(
        project,
        {
            "README.md": "other",
            "experiments/a.yaml": "name: b",
            ".env": "SECRET=1",
            ".git/hook.py": "",
            ".hidden.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/x.py": "",
            "build/lib/x.py": "",
            "data/x.py": "",
            "src/winnow/__pycache__/x.py": "",
            "src/winnow.egg-info/x.py": "",
        },
    )
    copy = project.with_name("elsewhere")
    shutil.copytree(project, copy)
    assert code_digest(project) == code_digest(copy) == before


def test_the_image_of_this_code_is_taken(project: Path) -> None:
    held = engine(Image("sha256:ab", [f"winnow-train:{project_tag(project)}"], {CODE: code_digest(project)}))
    assert check(held, None, project) == "sha256:ab"


def test_the_requirements_that_were_named_are_a_part_of_the_code(project: Path) -> None:
    labels = plan(TrainImagesRequest(project, requirements="requirements/mine.txt"), "train").labels
    held = engine(Image("sha256:ab", [f"winnow-train:{project_tag(project)}"], labels))
    assert check(held, None, project) == "sha256:ab"
    (project / "requirements/mine.txt").write_text("y")
    with pytest.raises(InputError, match="expected one built from the code in"):
        check(held, None, project)


def test_an_image_of_other_code_is_refused_unless_it_is_named(project: Path) -> None:
    name = f"winnow-train:{project_tag(project)}"
    held = engine(Image("sha256:ab", [name], {CODE: "0f" * 32}))
    with pytest.raises(InputError) as told:
        check(held, None, project)
    assert str(told.value) == (
        f"image '{name}': expected one built from the code in {project} ({code_digest(project)[:12]}), found one "
        "built from 0f0f0f0f0f0f. Build it again with `make build-train` (seconds), or name it to use it anyway: "
        f"IMAGE={name}."
    )
    assert check(held, name, project) == "sha256:ab"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image 'winnow-train:project-.{8}': .*, found none of that name. Make it with `make build-train`."),
        ("theirs:1", "image 'theirs:1': .*, found none of that name. Pull it, or correct IMAGE=."),
    ],
)
def test_a_missing_image_is_refused(project: Path, image: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(engine(), image, project)
