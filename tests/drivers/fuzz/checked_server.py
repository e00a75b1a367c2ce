"""A real OPC UA server whose values check themselves; prints its port. Not a test: ``test_opcua.py`` runs it.

Arguments: a folder for its certificate, and the time in nanoseconds that the numbers in its values count from.
"""

import asyncio
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncua import Server, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

URI = "http://linegate.test/machine"
APPLICATION = "urn:linegate.test:fuzz"
WRITE_EVERY_S = 0.02
KINDS = {
    "reported": ua.VariantType.UInt64,
    "text": ua.VariantType.String,
    "scanned": ua.VariantType.UInt64,
}


def checked(name, number):
    check = zlib.crc32(f"{name} {number}".encode())
    return f"{number}:{check}" if name == "text" else number << 32 | check


def make_certificate(folder):
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    now = datetime.now(UTC)  # noqa: TID251 - a certificate is about the real time
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(APPLICATION)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    (folder / "server.pem").write_bytes(pem)


async def main(folder, start_ns):
    make_certificate(folder)
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    await server.set_application_uri(APPLICATION)
    await server.load_certificate(str(folder / "server.der"))
    await server.load_private_key(str(folder / "server.pem"))
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_Sign])
    index = await server.register_namespace(URI)
    nodes = {
        name: await server.nodes.objects.add_variable(ua.NodeId(name, index), name, checked(name, 0), kind)
        for name, kind in KINDS.items()
    }
    async with server:
        print(server.bserver._server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the answer
        while True:
            number = (time.time_ns() - start_ns) // 1_000_000
            for name, node in nodes.items():
                await node.write_value(checked(name, number), KINDS[name])
            await asyncio.sleep(WRITE_EVERY_S)


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
