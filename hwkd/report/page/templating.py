"""The pages' templates. Jinja2 is imported where it is used."""

import json
from typing import TYPE_CHECKING, Any

from hwkd import __version__
from hwkd.errors import HwkdError

if TYPE_CHECKING:
    from markupsafe import Markup

NOT_INSTALLED = 'Jinja2 and Plotly are not installed: pip install "hwkd[report]"'


def render_template(name: str, **values: object) -> str:
    """The template `name` of hwkd/report/page/templates with `values` and hwkd's version filled in, all of it escaped.

    A name that the template uses and that is not given is an error of ours (jinja2.UndefinedError).

    Raises:
        HwkdError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise HwkdError(NOT_INSTALLED) from error
    environment = Environment(
        loader=PackageLoader("hwkd.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(version=__version__, **values)


def script_text(text: str) -> "Markup":
    """`text` as it is, for inside <script>: it must be ours, and hold no "</script".

    Raises:
        HwkdError: Jinja2 is not installed.
    """
    try:
        from markupsafe import Markup
    except ImportError as error:
        raise HwkdError(NOT_INSTALLED) from error
    return Markup(text)


def script_json(value: Any) -> "Markup":
    """`value` as JSON for inside <script type="application/json">, which nothing in it can end.

    Raises:
        HwkdError: as script_text.
        ValueError: a number that JSON has no form for (infinite, not a number).
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return script_text(text.replace("<", "\\u003c"))
