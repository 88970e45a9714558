# An image with CoSpine and what lock/run.txt names, and nothing else; how to use it is in docs/containers.md.
FROM python:3.11.14-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/cospine

# by hash, and as wheels: nothing is compiled, so no compiler is needed
COPY lock/run.txt lock/run.txt
RUN /opt/cospine/bin/pip install --require-hashes --only-binary=:all: -r lock/run.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/cospine/bin/pip install --no-deps --no-build-isolation .


FROM python:3.11.14-slim-bookworm

# kernels run in threads of OpenMP, whose library numba's wheel expects in the system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=12.2.* \
    && rm -rf /var/lib/apt/lists/*

# compiled kernels and caches, for whatever user the container runs as
RUN install --directory --mode=1777 /cache

RUN useradd --uid 1000 --no-create-home --home-dir /cache cospine

COPY --from=build /opt/cospine /opt/cospine

ENV PATH=/opt/cospine/bin:$PATH \
    COSPINE_OFFLINE=1 \
    NUMBA_CACHE_DIR=/cache/numba \
    MPLCONFIGDIR=/cache/matplotlib \
    XDG_CACHE_HOME=/cache

USER cospine
WORKDIR /cache
# as Ctrl-C: stops cleanly, and the same command goes on
STOPSIGNAL SIGINT
ENTRYPOINT ["cospine"]
CMD ["--help"]
