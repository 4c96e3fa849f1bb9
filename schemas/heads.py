"""The envelope of canonical bytes, by pattern: what a record says without being parsed."""

import re

ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = (
    rb"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
)
COUNT = rb"(?:0|[1-9][0-9]{0,17})"
NAME = rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
HEAD = re.compile(
    rb'\{"specversion":"1\.0","id":"(%(id)s)","type":"([a-z0-9._]+)",'
    rb'"source":"(/[a-z][a-z0-9_-]*(?:/[0-9]+)?)",'
    rb'"subject":"([A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Z0-9_]+)?)","time":"(%(time)s)",'
    rb'"partitionkey":"(%(name)s)",(?:"sequence":(%(count)s),)?(?:"epoch":(%(count)s),)?'
    rb'(?:"causationid":"(%(id)s)",)?(?:"correlationid":"(%(id)s)",)?'
    % {b"id": ID, b"time": TIME, b"name": NAME, b"count": COUNT}
)
"""id, type, source, subject, time, account, sequence, epoch, causationid, correlationid."""
