"""A service that paints: `python -m hart.serve`, with the extra `serve`."""

from hart.utils.extras import need_extra

need_extra(
    "serve", "hart.serve", "fastapi", "fastapi_offline", "uvicorn", "prometheus_client", "pydantic_settings", "PIL"
)
