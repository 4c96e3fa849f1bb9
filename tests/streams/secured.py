"""An embedded broker that also listens for SASL_SSL, with a certificate made for the test."""

import subprocess
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from runtime import java, processes
from runtime.kafka import EmbeddedKafka
from runtime.logs import confluent_logger

USER, PASSWORD = "trader", "correct horse battery staple"
STORE_PASSWORD = "changeit"
LISTENER = """\
ssl.keystore.location={store}
ssl.keystore.type=PKCS12
ssl.keystore.password={password}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecuredKafka(EmbeddedKafka):
    """One broker; `bootstrap` is open, `secured` wants TLS and SCRAM-SHA-512. `ca_file`: what
    clients trust."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.secured_port = processes.free_port()
        self.ca_file = folder / "ca.pem"
        self.password_file = folder / "password"

    @property
    def secured(self) -> str:
        return f"127.0.0.1:{self.secured_port}"

    def make_secrets(self) -> None:
        """A key, its own certificate for 127.0.0.1, and the password's file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        store = self.folder / "broker.p12"
        keytool = str(java.JAVA.parent / "keytool")
        shared = ["-alias", "broker", "-keystore", str(store), "-storepass", STORE_PASSWORD]
        self._run(
            keytool, "-genkeypair", *shared, "-storetype", "PKCS12", "-keyalg", "EC",
            "-groupname", "secp256r1", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1",
            "-ext", "bc:critical=ca:true", "-validity", "2",
        )  # fmt: skip
        self._run(keytool, "-exportcert", "-rfc", *shared, "-file", str(self.ca_file))
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(PASSWORD + "\n")

    def _run(self, *argv: str) -> None:
        subprocess.run(argv, check=True, capture_output=True, timeout=60)

    def _write_properties(self, name: str, logs: str, ports: dict[str, int]) -> Path:
        path = super()._write_properties(name, logs, ports)
        if name != "server.properties":
            return path
        text = path.read_text()
        open_listener = f"PLAINTEXT://127.0.0.1:{ports['broker']}"
        both = f"{open_listener},SASL_SSL://{self.secured}"
        text = text.replace(open_listener, both)
        text = text.replace("PLAINTEXT:PLAINTEXT\n", "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n")
        text += "inter.broker.listener.name=PLAINTEXT\n"
        text += LISTENER.format(store=self.folder / "broker.p12", password=STORE_PASSWORD)
        path.write_text(text)
        return path

    def add_user(self) -> None:
        """Make the broker know the user."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap}, logger=confluent_logger())
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        admin.alter_user_scram_credentials([change])[USER].result(10)

    def settings(self) -> dict[str, str]:
        """The environment of a client of the secured listener."""
        return {
            "QUANTUM_KAFKA": self.secured,
            "QUANTUM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "QUANTUM_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "QUANTUM_KAFKA_SASL_USERNAME": USER,
            "QUANTUM_KAFKA_SASL_PASSWORD_FILE": str(self.password_file),
            "QUANTUM_KAFKA_CA_FILE": str(self.ca_file),
        }
