#!/usr/bin/env python3
"""Uploads an archive to `zbulk sandbox` with an official Zoho Python SDK, and records what the SDK sent.

    python3 -m venv v2 && v2/bin/pip install zohocrmsdk2-0
    python3 -m venv v8 && v8/bin/pip install zohocrmsdk8-0
    v2/bin/python crates/cli/tests/sdk_upload.py 2 target/debug/zbulk testdata/sdk-requests/python-2.0.http
    v8/bin/python crates/cli/tests/sdk_upload.py 8 target/debug/zbulk testdata/sdk-requests/python-8.0.http

The two SDKs share dependencies, so each has an environment of its own. The last argument may be left out; the upload
request is then not written. It is written byte for byte, with placeholders for the access token, the organisation,
the port and the kernel's release. SDK 8 first asks for its user's name, which the sandbox does not know; the SDK logs
that to standard error and goes on. The script fails unless the SDK reads a `file_id` under which the sandbox keeps
exactly the archive's bytes.
"""

import io
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile

ORG = "808232144"
NAME = "Leads.zip"


def archive():
    """A ZIP of one CSV, the same bytes each time."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("Leads.csv", (1980, 1, 1, 0, 0, 0)), "Last Name,Email\nDoe,doe@example.com\n")
    return made.getvalue()


class Recorder:
    """Passes bytes both ways, and keeps what each connection sent."""

    def __init__(self, address):
        self.address = address
        self.sent = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.address)
            kept = bytearray()
            self.sent.append(kept)
            threading.Thread(target=pump, args=(client, server, kept), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, None), daemon=True).start()

    def upload(self):
        """The one upload request: head and body."""
        found = [bytes(kept) for kept in self.sent if b"/upload HTTP/1.1\r\n" in kept]
        assert len(found) == 1, f"{len(found)} connections with an upload"
        return found[0]


def pump(source, sink, kept):
    try:
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError as error:
        print(f"a connection broke: {error}", file=sys.stderr)


def upload(version, info, url, path, resources):
    """Lets the SDK upload; gives the HTTP status and what the SDK made of the answer."""
    if version == "8":
        from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
        from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
        from zohocrmsdk.src.com.zoho.crm.api import HeaderMap
        from zohocrmsdk.src.com.zoho.crm.api.bulk_write.bulk_write_operations import BulkWriteOperations
        from zohocrmsdk.src.com.zoho.crm.api.bulk_write.file_body_wrapper import FileBodyWrapper
        from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
        from zohocrmsdk.src.com.zoho.crm.api.header import Header
        from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer
        from zohocrmsdk.src.com.zoho.crm.api.util import StreamWrapper

        more, user = [], {}
    else:
        from zcrmsdk.src.com.zoho.api.authenticator import OAuthToken
        from zcrmsdk.src.com.zoho.api.authenticator.store import FileStore
        from zcrmsdk.src.com.zoho.crm.api import HeaderMap
        from zcrmsdk.src.com.zoho.crm.api.bulk_write.bulk_write_operations import BulkWriteOperations
        from zcrmsdk.src.com.zoho.crm.api.bulk_write.file_body_wrapper import FileBodyWrapper
        from zcrmsdk.src.com.zoho.crm.api.dc import DataCenter
        from zcrmsdk.src.com.zoho.crm.api.header import Header
        from zcrmsdk.src.com.zoho.crm.api.initializer import Initializer
        from zcrmsdk.src.com.zoho.crm.api.user_signature import UserSignature
        from zcrmsdk.src.com.zoho.crm.api.util import StreamWrapper

        more, user = ["zbulk_sandbox"], {"user": UserSignature("a@example.com")}
    environment = DataCenter.Environment(url, url + "/oauth/v2/token", url, *more)
    token = OAuthToken(
        client_id=info["client_id"], client_secret=info["client_secret"], refresh_token=info["refresh_token"]
    )
    store = FileStore(os.path.join(resources, "tokens.txt"))
    Initializer.initialize(environment=environment, token=token, store=store, resource_path=resources, **user)
    body = FileBodyWrapper()
    body.set_file(StreamWrapper(stream=open(path, "rb"), name=os.path.basename(path)))
    headers = HeaderMap()
    of = "com.zoho.crm.api.BulkWrite.UploadFileHeader"
    headers.add(Header("feature", of), "bulk-write")
    headers.add(Header("X-CRM-ORG", of), info["org"])
    answer = BulkWriteOperations().upload_file(body, headers)
    return answer.get_status_code(), answer.get_object()


def placeholders(request, info, port):
    """The request without what belongs to this one sandbox; the body stays as it is."""
    head, body = request.split(b"\r\n\r\n", 1)
    lines = []
    for line in head.decode("ascii").split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "authorization":
            value = value.split(" ")[0] + " 1000.token"
        if name.lower() == "x-zoho-sdk":
            value = value.replace(platform.release(), "RELEASE")
        lines.append(f"{name}: {value}" if value else line)
    text = "\r\n".join(lines).replace(info["org"], ORG).replace(f"127.0.0.1:{port}", "127.0.0.1:8400")
    return text.encode("ascii") + b"\r\n\r\n" + body


def main():
    version, zbulk, record = sys.argv[1], os.path.abspath(sys.argv[2]), None
    assert version in ("2", "8"), "the first argument is 2 or 8"
    if len(sys.argv) > 3:
        record = os.path.abspath(sys.argv[3])
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        path = os.path.join(here, NAME)
        with open(path, "wb") as file:
            file.write(archive())
        sandbox = subprocess.Popen(
            [zbulk, "sandbox", "--listen", "127.0.0.1:0", "--dir", "kept"], stdout=subprocess.PIPE, text=True
        )
        try:
            info = json.loads(sandbox.stdout.readline())
            host, port = info["api_url"].removeprefix("http://").split(":")
            recorder = Recorder((host, int(port)))
            os.mkdir("resources")
            url = f"http://127.0.0.1:{recorder.port}"
            status, read = upload(version, info, url, path, os.path.join(here, "resources"))
            file_id = read.get_details()["file_id"]
            print(f"SDK {version}: status {status}, {type(read).__name__}, file_id {file_id}")
            with open(os.path.join("kept", f"{file_id}.zip"), "rb") as kept:
                assert kept.read() == archive(), "the sandbox keeps other bytes"
            print("the sandbox keeps the archive's bytes")
            request = placeholders(recorder.upload(), info, recorder.port)
            for key in ("client_id", "client_secret", "refresh_token", "org"):
                assert info[key].encode() not in request, key
            if record:
                with open(record, "wb") as file:
                    file.write(request)
                print(f"{len(request)} bytes recorded")
        finally:
            sandbox.kill()
            sandbox.wait()


if __name__ == "__main__":
    main()
