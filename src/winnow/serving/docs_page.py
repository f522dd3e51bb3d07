"""The page at `/docs`: what the model takes and gives, a form to try it, and a curl for every protocol.

Swagger UI would be a megabyte of script for a page that shows types; this one shows the model's own columns, classes
and a row that works.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from string import Template

import msgspec

from winnow.bundle.manifest import Manifest
from winnow.serving import form, problems
from winnow.serving.examples import Example
from winnow.serving.signature import Signature

RAW_VALUES = "An empty field, or null, is a missing value; a category that training has not seen is taken as unknown."

OPERATIONS = (
    ("/livez", "the process is alive"),
    ("/readyz", "it should be sent requests; 503 while it stops"),
    ("/metrics", "Prometheus metrics"),
    ("/model", "the model's card as JSON: signature, metrics, origin"),
    ("/openapi.json", "this page for programs"),
    ("/v2", "Open Inference Protocol: server and model metadata, health"),
)


def render(
    template: str, manifest: Manifest, signature: Signature, examples: Sequence[Example], url: str, *, needs_key: bool
) -> bytes:
    """The page as UTF-8 HTML, with commands for the server at `url`."""
    first = msgspec.json.decode(examples[0].body)["rows"][0]
    origin = {
        "study": manifest.study,
        "trial": str(manifest.trial),
        "data": f"{manifest.data_name}, sha256 {manifest.data_sha256[:12]}",
        "commit": manifest.git_commit[:12] or "unknown",
        "created": manifest.created_at,
    }
    facts = {"classes": signature.classes, "url": url, "key": needs_key}
    metrics = [(name, f"{value:.4g}") for name, value in sorted(manifest.metrics.items())]
    page = Template(template).substitute(
        name=html.escape(signature.name),
        version=html.escape(signature.version),
        digest=html.escape(signature.digest[:12]),
        sentence=_sentence(manifest, signature),
        origin="".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(value)}</dd>" for term, value in origin.items()),
        metrics=_table(("metric", "value"), metrics),
        form=form.render(signature, first),
        key=_KEY_FIELD if needs_key else "",
        protocols="".join(_protocol(example, url, needs_key=needs_key) for example in examples),
        operations=_table(("address", "answers"), OPERATIONS),
        problems="".join(
            f'<tr id="{kind}"><td>{status}</td><td><code>{kind}</code></td><td>{html.escape(title)}</td></tr>'
            for kind, (status, title) in problems.TITLES.items()
        ),
        # No "<" can end the script element that holds this.
        facts=msgspec.json.encode(facts).decode().replace("<", "\\u003c"),
    )
    return page.encode()


_KEY_FIELD = '<label class="key">API key <input id="key" type="password" autocomplete="off"></label>'


def _sentence(manifest: Manifest, signature: Signature) -> str:
    shape = " × ".join(str(size) for size in signature.input_shape)
    takes, values = f"tensors of {shape}", "Each value is a number; null is a missing one."
    if signature.images is not None:
        takes, values = "images", f"An image of any size becomes {shape} numbers."
    elif signature.columns is not None:
        takes = f"{len(signature.columns)} columns"
        values = values if signature.is_numeric else RAW_VALUES
    if signature.classes is not None:
        gives = f"{len(signature.classes)} classes of {manifest.target_names[0]}"
        if signature.threshold is not None:
            gives += f" ({signature.classes[signature.positive]} from a probability of {signature.threshold:.4g} on)"
    else:
        gives = "values of " + ", ".join(signature.targets)
    return html.escape(f"Takes {takes}, gives {gives}. {values}")


def _protocol(example: Example, url: str, *, needs_key: bool) -> str:
    title, path, command = map(html.escape, (example.title, example.path, example.curl(url, needs_key=needs_key)))
    head = f"<summary>{title} <code>POST {path}</code></summary>"
    return f'<details>{head}<div class="code"><button class="copy">Copy</button><pre>{command}</pre></div></details>'


def _table(head: tuple[str, str], lines: Iterable[tuple[str, str]]) -> str:
    body = "".join(
        f"<tr><td><code>{html.escape(left)}</code></td><td>{html.escape(right)}</td></tr>" for left, right in lines
    )
    return f"<table><thead><tr><th>{head[0]}</th><th>{head[1]}</th></tr></thead><tbody>{body}</tbody></table>"
