"""Protobuf text format, read and written for any message of the schema.

`parse` accepts what Caffe's own reader accepts and nothing else. When it refuses a text it reports the
position, what was expected and what was found. On request it keeps fields and enum labels that the schema
lacks unchanged (see `unknown`). Given a dialect, it knows only the fork fields and labels of that dialect.
`format_fields` and `format_layer` write netbuilder's layout.

This works on descriptors only; files, headers and nets are built on top. The parts: `text_fields` prepares
the schema, `text_values` converts single values, `text_read` and `text_errors` are the reader, `text_write`
is the writer. A plain build imports the writer alone.
"""

from netbuilder.prototxt.text_read import Parsed, parse
from netbuilder.prototxt.text_write import format_fields, format_layer

__all__ = ["Parsed", "format_fields", "format_layer", "parse"]
