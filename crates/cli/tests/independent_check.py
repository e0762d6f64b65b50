#!/usr/bin/env python3
"""Holds what a sandbox has received against the inputs, with Python's csv and zipfile and none of zbulk's code.

usage: independent_check.py DIR MAX_RECORDS PARENT=FILE[:KEY] [CHILD=FILE:PARENT_KEY ...] [-- next import ...]

DIR is an output directory after `zbulk run --sandbox`: manifest.json, manifest.csv and sandbox/<file_id>.zip are
read. Every input must be fit for sending: no rejects. Prints one line of counts and exits 0, or says what is wrong
and exits 1.
"""
import csv, io, json, sys, zipfile
from pathlib import Path

csv.field_size_limit(1 << 30)


def wrong(message):
    print("independent check: " + message, file=sys.stderr)
    sys.exit(1)


def read_input(path):
    text = Path(path).read_bytes().decode("utf-8-sig")
    header = text.split("\n", 1)[0].split("\r", 1)[0]
    delimiter = max(",;|:\t", key=header.count)
    return list(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))


def read_entry(data):
    if data.startswith(b"\xef\xbb\xbf") or b"\0" in data:
        wrong("an entry begins with a byte order mark or holds a NUL")
    return list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))


def main():
    directory, max_records, *rest = sys.argv[1:]
    directory, max_records = Path(directory), int(max_records)
    imports = [[]]
    for argument in rest:
        if argument == "--":
            imports.append([])
        else:
            module, file = argument.split("=", 1)
            file, _, key = file.partition(":")
            imports[-1].append((module, read_input(file), key or None))
    manifest = json.loads((directory / "manifest.json").read_text())
    ids = [chunk["upload"]["file_id"] for chunk in manifest["chunks"]]
    if any(not isinstance(i, str) or not i for i in ids) or len(set(ids)) != len(ids):
        wrong("a file_id is missing or stands twice in manifest.json")
    kept = {path.stem for path in (directory / "sandbox").glob("*.zip")}
    if not set(ids) <= kept:
        wrong("the sandbox has no body for a file_id")
    orphans = sum(chunk["upload"]["possible_orphans"] for chunk in manifest["chunks"])
    if len(kept) - len(ids) > orphans:
        wrong(f"{len(kept)} bodies for {len(ids)} chunks, {orphans} possible orphans")
    rows = list(csv.DictReader(io.StringIO((directory / "manifest.csv").read_text(), newline="")))
    if {row["file_id"] for row in rows} != set(ids):
        wrong("manifest.csv and manifest.json name different file_ids")

    # Every entry of every archive, in the order of the chunks.
    archives = []
    for chunk in manifest["chunks"]:
        with zipfile.ZipFile(directory / "sandbox" / (chunk["upload"]["file_id"] + ".zip")) as archive:
            if archive.testzip() is not None:
                wrong("a damaged archive")
            entries = {info.filename: read_entry(archive.read(info)) for info in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                wrong("an archive has two entries of one name")
        if [entry["name"] for entry in chunk["entries"]] != list(entries):
            wrong("the manifest lists other entries than " + chunk["name"] + " has")
        archives.append(entries)

    total = 0
    taken = 0
    for modules in imports:
        parent_module, parent, key = modules[0]
        of_import = [a for a in archives if next(iter(a)) == parent_module + ".csv"]
        taken += len(of_import)
        for module, records, column in modules:
            name = module + ".csv"
            header, records = records[0], records[1:]
            sent = []
            for entries in of_import:
                if name not in entries:
                    continue
                if entries[name][0] != header:
                    wrong(f"{name}: another header")
                part = entries[name][1:]
                if not 0 < len(part) <= max_records:
                    wrong(f"{name}: {len(part)} records in one entry")
                if module != parent_module:
                    at, parent_at = header.index(column), parent[0].index(key)
                    keys = {record[parent_at] for record in entries[parent_module + ".csv"][1:]}
                    if any(record[at] not in keys for record in part):
                        wrong(f"{name}: a child without its parent beside it")
                sent.append(part)
            flat = [record for part in sent for record in part]
            if module == parent_module:
                if flat != records:
                    wrong(f"{name}: the archives do not hold the file's records in its order")
            else:
                if sorted(flat) != sorted(records):
                    wrong(f"{name}: {len(flat)} records sent, {len(records)} in the file, or others")
                # Each archive's children are in the file's order.
                at, parent_at = header.index(column), parent[0].index(key)
                archive_of = {}
                for i, entries in enumerate(of_import):
                    for record in entries[parent_module + ".csv"][1:]:
                        archive_of[record[parent_at]] = i
                expected = [[] for _ in of_import]
                for record in records:
                    expected[archive_of[record[at]]].append(record)
                if [part for part in expected if part] != sent:
                    wrong(f"{name}: children out of the file's order")
            total += len(flat)
    if taken != len(archives):
        wrong("an archive of no import")
    print(f"{total} records in {len(archives)} archives, {len(ids)} file_ids, {len(kept)} bodies: all is there once")


main()
