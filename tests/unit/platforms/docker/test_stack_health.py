"""How services are, by what the engine says."""

import pytest

from winnow.platforms.docker.stack_health import Container, Health, judge


@pytest.mark.parametrize(
    ("container", "health"),
    [
        (Container("mlflow", "running", 0, 0, "healthy"), Health.READY),
        (Container("mlflow", "running", 0, 0, "starting"), Health.STARTING),
        (Container("mlflow", "running", 0, 0, "unhealthy"), Health.FAILED),
        (Container("mlflow", "restarting", 1, 1, "starting"), Health.STARTING),
        (Container("mlflow", "restarting", 1, 2, "starting"), Health.FAILED),
        (Container("mlflow", "created", 0, 0, None), Health.STARTING),
        (Container("bucket", "running", 0, 0, None), Health.STARTING),
        (Container("bucket", "exited", 0, 0, None), Health.READY),
        (Container("bucket", "exited", 1, 0, None), Health.FAILED),
    ],
)
def test_a_service_is_judged_by_its_container(container: Container, health: Health) -> None:
    assert judge([container.service], [container]) == {container.service: health}


def test_a_service_without_a_container_is_starting() -> None:
    assert judge(["postgres"], []) == {"postgres": Health.STARTING}
