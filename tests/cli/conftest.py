import pytest
from typer.testing import CliRunner


@pytest.fixture
def run():
    """Calls the command line in process: `run("models", "--json")` gives exit code, stdout and stderr."""
    from kzoo.cli import main as cli

    return lambda *arguments: CliRunner().invoke(cli.app, list(arguments), prog_name="kzoo")
