"""`POST /predict`: winnow's own JSON.

    {"rows": [{"mean radius": 17.99, "mean texture": null, …}, …]}     by column name
    {"rows": [[17.99, null, …], …]}                                    in the order of the columns, or tensors
    {"rows": [{"image": "…base64…"}, …]}                               PNG or JPEG images, for models that take them
    the bytes of one image, as `image/png` or `image/jpeg`

    {"predictions": ["malignant"], "probabilities": [{"malignant": 0.98, "benign": 0.02}],
     "model": {"name": …, "version": …, "digest": …}, "request_id": …}

Regression answers `values` (by target name) where classification answers `probabilities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from winnow.serving import codec, image_rows, problems, rows
from winnow.serving.codec import InferenceRequest, RowReader
from winnow.serving.json_body import json_of, standard_json
from winnow.serving.problems import ProblemError
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix


class PredictCodec:
    """`Codec` for `/predict`."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self.media_types = (codec.JSON, *(image_rows.MEDIA_TYPES if signature.images is not None else ()))
        self._reader = RowReader(signature, ignore_extra=False)
        items = list[self._reader.type]  # type: ignore[name-defined]
        body = msgspec.defstruct("PredictBody", [("rows", items)], forbid_unknown_fields=True)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._encode = msgspec.json.Encoder().encode
        self._model = {"name": signature.name, "version": signature.version, "digest": signature.digest}

    def decode(self, body: bytes, media_type: str) -> InferenceRequest:
        if self._signature.images is not None and media_type != codec.JSON:
            return InferenceRequest(image_rows.from_image(body, self._signature.images))
        content = codec.typed(self._decoder, body)
        matrix = None if content is None else self._reader.matrix(content.rows, "rows")
        return InferenceRequest(self._read(body) if matrix is None else matrix)

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
        signature = self._signature
        named, names = ("probabilities", signature.classes) if signature.classes else ("values", signature.targets)
        answer = {
            "predictions": codec.predictions(outputs, signature),
            named: codec.by_name(outputs, names),
            "model": self._model,
            "request_id": request_id,
        }
        return self._encode(answer)

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        return members

    def _read(self, body: bytes) -> Matrix:
        content = json_of(standard_json(body), self._signature)
        if not isinstance(content, dict):
            found = problems.kind_of(content)
            raise ProblemError("wrong-form", f'Expected an object {{"rows": […]}}, found {found}.')
        if "rows" not in content:
            raise ProblemError("wrong-form", 'Expected the key "rows" with an array of rows.')
        for key in content:
            if key != "rows":
                raise ProblemError("wrong-form", f'Expected the key "rows" alone, found {problems.shorten(key)} too.')
        return rows.from_rows(content["rows"], self._signature, "rows")
