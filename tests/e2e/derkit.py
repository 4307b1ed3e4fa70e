# SPDX-License-Identifier: Apache-2.0
"""Builds DER by hand, for requests that no library would make."""
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ECDSA_SHA256 = "1.2.840.10045.4.3.2"
COMMON_NAME = "2.5.4.3"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
SUBJECT_ALT_NAME = "2.5.29.17"


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def seq(*parts):
    return tlv(0x30, *parts)


def set_of(*parts):
    return tlv(0x31, *parts)


def integer(value):
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(text):
    numbers = [int(n) for n in text.split(".")]
    out = bytes([numbers[0] * 40 + numbers[1]])
    for n in numbers[2:]:
        septets = [n & 0x7f]
        while n > 0x7f:
            n >>= 7
            septets.append(0x80 | n & 0x7f)
        out += bytes(reversed(septets))
    return tlv(0x06, out)


def octets(data):
    return tlv(0x04, data)


def bits(data):
    return tlv(0x03, b"\0", data)


def utf8(text):
    return tlv(0x0c, text.encode())


def rdn(kind, value):
    return set_of(seq(oid(kind), value))


def extension(kind, value, critical=False):
    return seq(oid(kind), *([tlv(0x01, b"\xff")] if critical else []), octets(value))


def dns_name(text):
    return tlv(0x82, text if isinstance(text, bytes) else text.encode())


def request(key, names=(), subject=b"", extensions=(), version=0, attributes=None, signature=None, algorithm=None, spki=None):
    """A PKCS#10 request signed with an EC key; each part can be replaced. names: DER GeneralNames or texts."""
    if spki is None:
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    wanted = list(extensions)
    if names:
        wanted.insert(0, extension(SUBJECT_ALT_NAME, seq(*[n if isinstance(n, bytes) else dns_name(n) for n in names])))
    if attributes is None:
        attributes = seq(oid(EXTENSION_REQUEST), set_of(seq(*wanted))) if wanted else b""
    info = seq(integer(version), seq(subject), spki, tlv(0xa0, attributes))
    if signature is None:
        signature = key.sign(info, ec.ECDSA(hashes.SHA256()))
    return seq(info, algorithm or seq(oid(ECDSA_SHA256)), bits(signature))
