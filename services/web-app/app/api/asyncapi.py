"""`/api/asyncapi.json`: the live feed as AsyncAPI 3, made from the message models."""

from typing import Any

from fastapi import APIRouter

from app.domain.messages import MESSAGES, Message, message_type

router = APIRouter(prefix="/api", tags=["protocol"])

_CLOSE_CODES = {
    1002: "a frame that is none",
    1007: "text that is not UTF-8",
    1009: "a message that is too long",
    1012: "the instance stops; come back with your cursor",
    4001: "signed out",
    4003: "the user may not sign in any more",
    4008: "too slow; come back with your cursor",
    4009: "protocol abuse",
    4029: "a limit was reached",
}


@router.get("/asyncapi.json")
async def get_asyncapi() -> dict[str, Any]:
    """Return the description of `/api/ws`."""
    return asyncapi()


def asyncapi() -> dict[str, Any]:
    """Build the AsyncAPI 3.0 document; its payloads are JSON Schemas of their own."""
    from_server = {message_type(model): _message(model) for model in MESSAGES}
    texts = {
        "ping": {"title": "Text ping", "payload": {"type": "string", "const": "ping"}},
        "pong": {"title": "Text pong, the answer to ping", "payload": {"type": "string", "const": "pong"}},
    }
    codes = "; ".join(f"{code}: {meaning}" for code, meaning in _CLOSE_CODES.items())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vuls Live: live feed",
            "version": "1.0.0",
            "description": f"What happened, as it happens. Close codes: {codes}.",
        },
        "channels": {
            "feed": {
                "address": "/api/ws",
                "description": "Session cookie and a listed Origin, or a bearer token.",
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {
                                "since": {"type": "string", "description": "the cursor to continue from"},
                                "snapshot": {
                                    "type": "string",
                                    "enum": ["true", "false"],
                                    "description": "begin with the state where there is no cursor to continue from",
                                },
                            },
                        },
                    }
                },
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in (*from_server, "ping", "pong")
                },
            }
        },
        "operations": {
            "send": {
                "action": "send",
                "channel": {"$ref": "#/channels/feed"},
                "messages": [{"$ref": f"#/channels/feed/messages/{name}"} for name in (*from_server, "pong")],
            },
            "receive": {
                "action": "receive",
                "channel": {"$ref": "#/channels/feed"},
                "messages": [{"$ref": "#/channels/feed/messages/ping"}],
            },
        },
        "components": {"messages": from_server | texts},
    }


def _message(model: type[Message]) -> dict[str, Any]:
    return {
        "title": model.__name__,
        "summary": model.__doc__,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": model.model_json_schema(),
        },
    }
