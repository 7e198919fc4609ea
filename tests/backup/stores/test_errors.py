"""Every cell of the tables that tell what passes from what stays; most of it no server can be made to say."""

import errno
import os
from collections.abc import Mapping

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.backup.stores import errnos, s3_errors, swift

SENTENCE_ENDS = "."


def answer(code: str, status: int) -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": "hush"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item,unused-ignore]
        "PutObject",
    )


@pytest.mark.parametrize(
    "tables", [(errnos.PASSES, errnos.STAYS), (s3_errors.PASSES, s3_errors.STAYS), (swift.PASSES, swift.STAYS)]
)
def test_nothing_both_passes_and_stays(tables: tuple[Mapping[object, str], Mapping[object, str]]) -> None:
    """And each has a whole sentence."""
    passes, stays = tables

    assert not set(passes) & set(stays)
    assert all(sentence.endswith(SENTENCE_ENDS) for sentence in (*passes.values(), *stays.values()))


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_each_error_of_a_filesystem_is_told_without_its_path(number: int) -> None:
    """Also one that nobody thought of, which is told at once."""
    told = errnos.explained(OSError(number, os.strerror(number), "/secret/path"), store="here")

    assert isinstance(told, StoreUnavailable) == (number in errnos.PASSES)
    assert str(told).startswith("Backup store here ")
    assert str(told).endswith(SENTENCE_ENDS)
    assert "/secret" not in str(told)


@pytest.mark.parametrize("code", sorted(s3_errors.PASSES))
def test_each_code_that_passes_is_an_outage(code: str) -> None:
    """Whatever the status is with it: a skewed clock comes with 403."""
    told = s3_errors.explained(answer(code, 403), store="there", bucket="b")

    assert isinstance(told, StoreUnavailable)
    assert "hush" not in str(told)


@pytest.mark.parametrize("code", sorted(s3_errors.STAYS))
def test_each_code_that_stays_is_told_at_once(code: str) -> None:
    """What S3 cannot do, it says with 501."""
    told = s3_errors.explained(answer(code, 501), store="there", bucket="the-bucket")

    assert isinstance(told, StoreRefused)
    assert ("the-bucket" in str(told)) == ("{bucket}" in s3_errors.STAYS[code])
    assert "hush" not in str(told)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, StoreRefused), (403, StoreRefused), (500, StoreUnavailable), (503, StoreUnavailable)]
)
def test_a_code_that_nobody_knows_is_judged_by_its_status(status: int, kind: type[Exception]) -> None:
    """The server's own words are not repeated."""
    told = s3_errors.explained(answer("Weird", status), store="there", bucket="b")

    assert isinstance(told, kind)
    assert f"{status} Weird" in str(told)
    assert "hush" not in str(told)


URL = "http://there"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.EndpointConnectionError(endpoint_url=URL), StoreUnavailable),
        (boto.ConnectTimeoutError(endpoint_url=URL), StoreUnavailable),
        (boto.ReadTimeoutError(endpoint_url=URL), StoreUnavailable),
        (boto.ConnectionClosedError(endpoint_url=URL), StoreUnavailable),
        (boto.ProxyConnectionError(proxy_url=URL), StoreUnavailable),
        (boto.SSLError(endpoint_url=URL, error="EOF occurred in violation of protocol"), StoreUnavailable),
        (boto.SSLError(endpoint_url=URL, error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), StoreRefused),
        (boto.ResponseStreamingError(error="reset"), StoreUnavailable),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), StoreUnavailable),
        (boto.MetadataRetrievalError(error_msg="timed out"), StoreUnavailable),
        (ResponseParserError("not XML"), StoreUnavailable),
        (ConnectionResetError(104, "reset"), StoreUnavailable),
        (TimeoutError(110, "timed out"), StoreUnavailable),
        (boto.NoCredentialsError(), StoreRefused),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), StoreRefused),
        (boto.InvalidRegionError(region_name="x y"), StoreRefused),
        (boto.ParamValidationError(report="hush"), StoreRefused),
        (FileNotFoundError(2, "No such file or directory", "/secret/ca.pem"), StoreRefused),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_no_answer_is_an_outage_and_a_mistake_is_not(error: Exception, kind: type[Exception]) -> None:
    """As far as the library tells them apart."""
    told = s3_errors.explained(error, store="there", bucket="b")

    assert isinstance(told, kind)
    assert str(told).startswith("Backup store there ")
    assert "/secret" not in str(told)
    assert "hush" not in str(told)


@pytest.mark.parametrize("status", range(300, 600))
def test_each_status_of_swift_has_its_sentence(status: int) -> None:
    """What is not in a table passes from 500 on."""
    told = swift.explained(status, store="there", container="c")

    passes = status in swift.PASSES or (status >= 500 and status not in swift.STAYS)
    assert isinstance(told, StoreUnavailable if passes else StoreRefused)
    assert str(told).startswith("Backup store there ")
