"""What the demo says at its end."""

from pathlib import Path

from winnow.cli.demo import documents

CLONE = Path(__file__).parents[3]


def test_the_demo_names_documents_that_are_there(tmp_path: Path) -> None:
    assert documents(tmp_path) == ("  every setting         docs/configuration.md of winnow",)
    named = [word.rstrip(",") for line in documents(CLONE) for word in line.split() if "." in word]
    assert named == ["experiments/breast_cancer.yaml", "README.md"]
    assert all((CLONE / name).is_file() for name in [*named, "docs/configuration.md"])
