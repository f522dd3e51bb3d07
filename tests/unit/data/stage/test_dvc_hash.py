from winnow.data.stage.dvc_hash import dvc_hash


def test_hashes_are_those_that_dvc_writes_into_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a.csv", "b-c.csv", "inner/a.csv", "inner-0.csv"):
        (tmp_path / name).write_text(f"a,b\n{name},2\n")
    # `dvc add` 3.67 wrote these.
    assert dvc_hash(tmp_path / "a.csv") == "7813ba6499c2c3eb0ade5cc62b5caf1a"
    assert dvc_hash(tmp_path) == "f4b9a2d0752e76f8e5f27f1e86b37ac5.dir"
