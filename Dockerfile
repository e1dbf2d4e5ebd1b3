# syntax=docker/dockerfile:1
# One image for flow runs, Prefect workers and Dask workers, from uv.lock: what was tested is what runs. CPU only.
#
#   docker build -t fruit-features .
#   docker build -t fruit-features-worker --build-arg EXTRAS="dask" .          # a Dask worker: no TensorFlow, no Prefect
#   docker build --build-arg EXTRAS="dask flows spark tensorflow" --build-arg PACKAGES=openjdk-17-jre-headless .

ARG PYTHON=3.11-slim-bookworm

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:${PYTHON} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_PROJECT_ENVIRONMENT=/opt/fruits \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /source
# The dependencies first: they change less often than the code.
ARG EXTRAS="aws dask flows prefect-aws tensorflow"
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv \
    echo "${EXTRAS}" | xargs -n 1 printf -- '--extra=%s\n' | \
    xargs uv sync --locked --no-default-groups --no-install-project
COPY engines engines
COPY flows flows
RUN --mount=type=cache,target=/root/.cache/uv \
    echo "${EXTRAS}" | xargs -n 1 printf -- '--extra=%s\n' | \
    xargs uv sync --locked --no-default-groups --no-editable

FROM python:${PYTHON}
ARG PACKAGES=""
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && \
    echo "tini ${PACKAGES}" | xargs apt-get install -y --no-install-recommends && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --create-home fruits && \
    install -d -o fruits /data /home/fruits/.cache /home/fruits/.cache/fruit-features
COPY --from=build /opt/fruits /opt/fruits
# What `prefect deploy` reads, and the folder that flows are loaded from.
COPY prefect.yaml /opt/fruit-features/
COPY deployments /opt/fruit-features/deployments
COPY engines /opt/fruit-features/engines
COPY flows /opt/fruit-features/flows
ENV PATH=/opt/fruits/bin:$PATH \
    DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/fruit-features
USER 10001
# The first process of a container: hands signals on, and takes in what workers leave behind.
ENTRYPOINT ["tini", "--"]
CMD ["fruits", "--help"]
