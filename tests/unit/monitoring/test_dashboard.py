from __future__ import annotations

import yaml

from winnow.monitoring.alertmanager import alertmanager_config
from winnow.monitoring.dashboard import dashboard, queries


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for at in (each["gridPos"] for each in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    assert len({each["id"] for each in panels}) == len(panels)


def test_every_panel_asks_the_chosen_data_source() -> None:
    panels = [each for each in dashboard()["panels"] if each["type"] != "row"]
    sources = [target["datasource"]["uid"] for each in panels for target in each["targets"]]
    assert sources == ["${datasource}"] * len(queries())
    assert all("$deployment" in query for query in queries())


def test_alertmanager_posts_alerts_about_answers_to_all_hooks() -> None:
    config = yaml.safe_load(alertmanager_config(["http://a:9119", "http://b:9119"], "/token"))
    (route,) = config["route"]["routes"]
    assert (route["matchers"], route["receiver"]) == (['rollback="true"'], "hooks")
    assert config["receivers"] == [
        {"name": "none"},
        {
            "name": "hooks",
            "webhook_configs": [
                {
                    "url": url,
                    "send_resolved": False,
                    "http_config": {"authorization": {"credentials_file": "/token"}},
                }
                for url in ("http://a:9119", "http://b:9119")
            ],
        },
    ]


def test_alertmanager_posts_nothing_without_hooks() -> None:
    config = yaml.safe_load(alertmanager_config([], "/token"))
    assert config["receivers"] == [{"name": "none"}]
    assert "routes" not in config["route"]
