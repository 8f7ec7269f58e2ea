import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--update", action="store_true", help="write the golden files anew in place of comparing"
    )


@pytest.fixture(scope="session")
def is_update(request):
    """Whether golden files are written anew; the option is there only where pytest is given this folder."""
    return request.config.getoption("--update", default=False)
