"""Join the features of a Feast service to rows, each as it was at the row's own time.

`feast_join.py FOLDER REPOSITORY SERVICE [ENTITIES]` runs in Feast's environment, and so imports nothing of winnow.
ENTITIES is Parquet with the keys and `event_timestamp` (UTC, without zone). FOLDER gets `features.parquet`, whose rows
are those of ENTITIES in their order, and `answer.json`: what is in it, or the parts of an InputError as `refused`.
Without ENTITIES, it is only checked that there is such a service.

Each feature view is joined by itself, for distinct keys and times, and its rows are found again by their number. In one
join over several views, Feast's file store drops a row from all of them where one has a value only outside its time
to live, and merges rows that differ in the keys of later views alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

TIME, ROW, NO_KEY = "event_timestamp", "winnow_row", "__dummy_id"
"""The column with each row's time, the one that numbers rows for Feast, and Feast's key of a view without entities."""


class RefusedError(Exception):
    """Input that cannot be joined: the parts of winnow's InputError."""

    def __init__(self, place: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(found)
        self.parts = {"place": place, "expected": expected, "found": found, "remedy": remedy}


def main(arguments: Sequence[str]) -> None:
    """Write the features and the answer to the folder."""
    folder, repository, service, *entities = arguments
    answer: dict[str, Any] = {}
    try:
        if entities:
            answer = join(Path(repository), service, Path(entities[0]), Path(folder) / "features.parquet")
        else:
            feature_service(opened(Path(repository)), service)
    except RefusedError as refused:
        answer = {"refused": refused.parts}
    except Exception as error:  # noqa: BLE001 - of all kinds: Feast's, its stores' and the repository's
        lines = str(error).strip().splitlines()
        found = f"'{type(error).__name__}: {lines[0] if lines else ''}'"
        remedy = f"Correct the feature repository {repository}, whose sources Feast reads."
        answer = {"refused": RefusedError("data.source", "features that Feast can join", found, remedy).parts}
    (Path(folder) / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def join(repository: Path, service: str, entities: Path, output: Path) -> dict[str, Any]:
    """Write keys and features of every row; return their names, and the digest of what Feast's registry says of them.

    Raises:
        RefusedError: the repository is not applied, has no such service or feature, or keys are missing or wrong.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.types import from_value_type

    store = opened(repository)
    found = feature_service(store, service)
    rows = pd.read_parquet(entities)
    views = {each.name: view_of(store, each.name, service) for each in found.feature_view_projections}
    keys: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    columns: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for projection in sources(found.feature_view_projections, views):
        view = store.get_feature_view(projection.name)
        views.setdefault(projection.name, view)
        asked = [field.name for field in projection.features]
        refuse_other_features(asked, view, service)
        given = keys_of(view, projection.join_key_map, rows)
        keys.update({projection.join_key_map.get(key, key): pa.array(given[key]) for key in given})
        kinds.update(
            {
                projection.join_key_map.get(column.name, column.name): kind_of(column.dtype)
                for column in view.entity_columns
                if column.name in given
            }
        )
        table = features_at(store, projection, given, rows[TIME])
        inputs.update({name: table[name] for name in asked})
    for projection in found.feature_view_projections:
        view = views[projection.name]
        asked = [field.name for field in projection.features]
        refuse_other_features(asked, view, service)
        if isinstance(view, OnDemandFeatureView):
            made = view.transform_arrow(pa.table({**inputs, **request_data(view, rows)}))
            kinds.update(
                {name: kind_of(from_value_type(kind)) for name, kind in view.get_request_data_schema().items()}
            )
            inputs.update({name: made[name] for name in asked})
        twice = next((name for name in asked if name in columns), None)
        if twice is not None:
            expected, remedy = f"features of different names in the service {service}", "Leave one of them out of it."
            raise RefusedError("data.source", expected, f"'{twice}' in two of its feature views", remedy)
        columns.update({name: inputs[name] for name in asked})
    pq.write_table(pa.table({**keys, **columns}), output)
    return {
        "features": list(columns),
        "keys": list(keys),
        "kinds": kinds,
        "definition": definition(store, service, views),
    }


def opened(repository: Path) -> Any:
    """The feature store. An empty registry, which Feast would make, is not made."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repository))
    registry = store.config.registry
    path = str(registry.path)
    is_file = registry.registry_type == "file" and "://" not in path
    if is_file and not (repository / path).exists():
        expected = "a feature repository that `feast apply` has registered"
        found, remedy = f"no registry at {repository / path}", f"Call `feast apply` in {repository}."
        raise RefusedError("data.source", expected, found, remedy)
    return store


def feature_service(store: Any, name: str) -> Any:
    """The service of this name."""
    from feast.errors import FeatureServiceNotFoundException

    try:
        return store.get_feature_service(name)
    except FeatureServiceNotFoundException:
        names = sorted(each.name for each in store.list_feature_services())
        remedy = f"Its services are {', '.join(names)}." if names else "Declare one, and call `feast apply`."
        expected = f"a feature service of the project {store.project}"
        raise RefusedError("data.source", expected, f"'{name}'", remedy) from None


def view_of(store: Any, name: str, service: str) -> Any:
    """The feature view of this name."""
    from feast.errors import FeatureViewNotFoundException

    try:
        return store.registry.get_any_feature_view(name, store.project)
    except FeatureViewNotFoundException:
        expected = f"the feature views of the service {service} in the repository"
        raise RefusedError("data.source", expected, f"no '{name}'", "Call `feast apply` again.") from None


def sources(projections: Sequence[Any], views: dict[str, Any]) -> list[Any]:
    """The projections that Feast stores: those of the service, and those that its on-demand views are made from."""
    from feast.on_demand_feature_view import OnDemandFeatureView

    found = []
    for projection in projections:
        view = views[projection.name]
        if isinstance(view, OnDemandFeatureView):
            found += list(view.source_feature_view_projections.values())
        else:
            found.append(projection)
    return found


def refuse_other_features(asked: Sequence[str], view: Any, service: str) -> None:
    """Refuse a service that names features which its view has no more."""
    known = [field.name for field in view.features]
    other = next((name for name in asked if name not in known), None)
    if other is not None:
        expected = f"features of the view {view.name}: {', '.join(known)}"
        remedy = f"Correct the service {service}, and call `feast apply`."
        raise RefusedError("data.source", expected, f"'{other}'", remedy)


def keys_of(view: Any, renamed: dict[str, str], rows: Any) -> dict[str, Any]:
    """The keys of a view for every row, in the types that the repository says."""
    found = {}
    for column in view.entity_columns:
        if column.name == NO_KEY:
            continue
        name = renamed.get(column.name, column.name)
        if name not in rows:
            expected = f"a column with the entity key '{name}' of the feature view {view.name}"
            remedy = "Add it, or name another service."
            raise RefusedError("data.entities", expected, f"columns {', '.join(rows.columns)}", remedy)
        found[column.name] = typed(rows[name], column.dtype)
    return found


def typed(column: Any, kind: Any) -> Any:
    """A column in a type of Feast. Text of CSV files is converted where that loses nothing."""
    import pyarrow as pa
    from feast.types import from_feast_to_pyarrow_type

    wanted = from_feast_to_pyarrow_type(kind)
    array = pa.array(column, from_pandas=True)
    is_number = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    try:
        if pa.types.is_string(wanted) and is_number and array.null_count < len(array):
            raise pa.ArrowInvalid(f"values of type {array.type}")
        return array.cast(wanted).to_pandas(integer_object_nulls=True)
    except pa.ArrowException as error:
        expected = f"values of type {wanted} in column '{column.name}'"
        remedy = "Correct the values, or the type of the entity in the feature repository."
        raise RefusedError("data.entities", expected, f"'{error}'", remedy) from None


def features_at(store: Any, projection: Any, keys: dict[str, Any], times: Any) -> Any:
    """The features of one view, [rows]: null where it has no value for the keys at that time, or no longer."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    from feast.types import from_feast_to_pyarrow_type

    given = pd.DataFrame({**keys, TIME: times.dt.tz_localize("UTC").astype("datetime64[ns, UTC]")})
    number = given.groupby([*keys, TIME], sort=False).ngroup().to_numpy()  # -1 where a key is missing
    distinct = given.assign(**{ROW: number})[number >= 0].drop_duplicates(ROW).infer_objects()
    types = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in projection.features}
    if distinct.empty:
        return pa.table({name: pa.nulls(len(given), kind) for name, kind in types.items()})
    version = "" if projection.version_tag is None else f"@v{projection.version_tag}"
    asked = [f"{projection.name}{version}:{name}" for name in types]
    joined = store.get_historical_features(entity_df=distinct, features=asked).to_arrow()
    place = pd.Index(joined[ROW].to_numpy()).get_indexer(number)
    taken = joined.select(list(types)).take(pa.array(place, mask=place < 0))
    made = {}
    for name, kind in types.items():
        column = taken[name]
        if pa.types.is_floating(column.type):  # pandas' missing values
            column = pc.if_else(pc.is_nan(column), None, column)
        made[name] = column.cast(kind)
    return pa.table(made)


def kind_of(dtype: Any) -> str:
    """What a key of a request has to be, in the words of `winnow.routing.KeyKind`; empty for anything else."""
    import pyarrow as pa
    from feast.types import from_feast_to_pyarrow_type

    found = str(from_feast_to_pyarrow_type(dtype))
    names = {str(pa.float32()): "double", str(pa.float64()): "double", str(pa.bool_()): "boolean"}
    return names.get(found, found if found in ("int32", "int64", "string") else "")


def request_data(view: Any, rows: Any) -> dict[str, Any]:
    """The columns of the rows that an on-demand view is made from."""
    import pyarrow as pa
    from feast.types import from_value_type

    found = {}
    for name, kind in view.get_request_data_schema().items():
        if name not in rows:
            expected = f"a column '{name}', from which the feature view {view.name} is made"
            raise RefusedError("data.entities", expected, f"columns {', '.join(rows.columns)}", "Add it.")
        found[name] = pa.array(typed(rows[name], from_value_type(kind)), from_pandas=True)
    return found


def definition(store: Any, service: str, views: Collection[str]) -> str:
    """The sha256 of what the registry says of a service and its views, without when it was written."""
    from google.protobuf.json_format import MessageToDict

    registry = store.registry.proto()
    kinds = [
        registry.feature_views, registry.on_demand_feature_views, registry.stream_feature_views, registry.label_views
    ]  # fmt: skip
    found = [each.spec for each in registry.feature_services if each.spec.name == service]
    found += [each.spec for kind in kinds for each in kind if each.spec.name in views]
    specs = [without_times(MessageToDict(spec)) for spec in found if spec.project == store.project]
    return hashlib.sha256("\n".join(sorted(json.dumps(spec, sort_keys=True) for spec in specs)).encode()).hexdigest()


def without_times(value: Any) -> Any:
    """A part of the registry without the times of its making, which each source keeps in a member `meta`."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name != "meta"}
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
