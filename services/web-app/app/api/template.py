"""What a browser shows: the templates of `app/templates`, escaped."""

from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES_DIR = Path(__file__).parent.parent / "templates"
_templates = Environment(
    loader=FileSystemLoader(TEMPLATES_DIR), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def page(template: str, *, status: int = 200, **context: object) -> HTMLResponse:
    """Return a template as an answer; every name in it has to be in `context`."""
    return HTMLResponse(_templates.get_template(template).render(context), status)
