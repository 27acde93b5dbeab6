"""What a label's value says about how a request ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbook.analysis.status import GRPC, Codes, status_of


@pytest.mark.parametrize(
    ("text", "label", "status"),
    [
        ("503", "status", "503"),
        ("503", "code", "503"),
        (" 200 ", "status", "200"),
        ("500.0", "status", "500"),
        ("500 Internal Server Error", "status", "500"),
        ("HTTP 502", "status", "502"),
        ("HTTP/1.1 404", "status", "404"),
        ("5xx", "status", "5xx"),
        ("5XX", "status", "5xx"),
        ("2**", "status", "2xx"),
        ("HTTP_5XX", "status", "5xx"),
        ("5", "response_code_class", "5xx"),
        ("Unavailable", "grpc_code", "503"),
        ("UNAVAILABLE", "status", "503"),
        ("DEADLINE_EXCEEDED", "grpc_code", "504"),
        ("DeadlineExceeded", "code", "504"),
        ("OK", "grpc_code", "200"),
        ("Not Found", "status", "404"),
        ("NotFound", "grpc_code", "404"),
        ("14", "grpc_code", "503"),
        ("14", "code", "503"),
        ("0", "grpc_status", "200"),
        ("5", "grpc_code", "404"),
        ("ServerError", "status", "5xx"),
        ("SERVER_ERROR", "outcome", "5xx"),
        ("success", "outcome", "2xx"),
        ("error", "result", "5xx"),
        ("Internal Server Error", "status", "500"),
        ("5", "code", None),  # a class, or gRPC's NOT_FOUND
        ("0", "code", None),
        ("17", "grpc_code", None),
        ("", "status", None),
        ("600", "status", None),
        ("099", "status", None),
        ("5000", "status", None),
        ("active", "status", None),
        ("status", "status", None),
    ],
)
def test_a_value_says_how_a_request_ended_or_nothing(text: str, label: str, status: str | None) -> None:
    """Codes, classes, words of HTTP and gRPC, in any case; what could mean two things means none."""
    assert status_of(text, label) == status


@pytest.mark.parametrize(("codes", "status"), [(Codes.GRPC, "404"), (Codes.HTTP, "5xx"), (Codes.AUTO, None)])
def test_what_a_bare_digit_means_can_be_said(codes: Codes, status: str | None) -> None:
    """By `status_codes` of the environment."""
    assert status_of("5", "code", codes) == status


@given(st.sampled_from(GRPC), st.sampled_from([str.upper, str.lower, str.title]))
def test_every_grpc_code_is_known_by_word_and_number(code: tuple[str, int], case) -> None:
    """Both say the same."""
    word, status = code
    assert status_of(case(word), "grpc_code") == str(status)
    assert status_of(str(GRPC.index(code)), "grpc_code") == str(status)


@given(st.text(max_size=30))
def test_any_text_is_a_status_or_none(text: str) -> None:
    """Whatever a label says, the answer is one of the two."""
    found = status_of(text)
    assert found is None or (found[0] in "12345" and len(found) == 3)
