import pytest

from winnow.config.errors import InputError
from winnow.config.tools import READY, TOOLS, tool_folder, tool_python


def environment(folder, requirements):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / READY).write_text("".join(f"{each}\n" for each in requirements))
    return folder


def test_tools_are_in_the_home_or_in_the_folder_that_the_variable_names(tmp_path):
    assert tool_folder("dvc", tmp_path, {}) == tmp_path / "tools" / "dvc"
    assert tool_folder("dvc", tmp_path, {"WINNOW_TOOLS": "/cache"}).as_posix() == "/cache/dvc"


def test_an_environment_with_the_requirements_is_used(tmp_path):
    folder = environment(tmp_path / "tools" / "evidently", TOOLS["evidently"])
    assert tool_python("evidently", tmp_path, "EVIDENTLY=", {}) == folder / "bin" / "python"


@pytest.mark.parametrize(
    ("requirements", "found"),
    [(None, "found none"), (["dvc==2"], "found one made for dvc==2"), (TOOLS["dvc"], "found one without its Python")],
)
def test_another_environment_is_refused_with_the_command_that_makes_one(tmp_path, requirements, found):
    if requirements is not None:
        folder = environment(tmp_path / "tools" / "dvc", requirements)
        if requirements == TOOLS["dvc"]:
            (folder / "bin" / "python").unlink()
    with pytest.raises(InputError) as caught:
        tool_python("dvc", tmp_path, "x.yaml: data.source", {})
    assert str(caught.value).startswith(
        f"x.yaml: data.source: expected dvc in an environment of its own at {tmp_path}/"
    )
    assert found in str(caught.value) and "install-tool TOOL=dvc" in str(caught.value)
