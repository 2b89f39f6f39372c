# A worker. Build from the repository's root.
#   TORCH_INDEX  an index that is asked beside PyPI, whose Linux builds of torch are those with CUDA; for the CPU builds,
#                some 5 GB smaller, the one that pytorch.org's "Get started" names.
FROM python:3.11-slim-bookworm AS dependencies
ARG TORCH_INDEX=""
RUN python3 -m venv /opt/headway
WORKDIR /src
RUN touch README.md LICENSE
COPY pyproject.toml requirements.txt ./
# Layers of their own, as they change seldom: torch, then the locked rest.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/headway/bin/pip install --disable-pip-version-check -c requirements.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/headway/bin/pip install --disable-pip-version-check -c requirements.txt '.[worker,traces]'

FROM dependencies AS code
COPY README.md LICENSE ./
COPY services services
COPY workers workers
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/headway/bin/pip wheel --disable-pip-version-check --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="headway-worker" \
      org.opencontainers.image.description="A worker of Headway: torch, torchvision, and what trains a head" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home headway \
 && install -d -o headway -g headway /data /files
COPY --from=dependencies /opt/headway /opt/headway
RUN --mount=from=code,source=/wheels,target=/wheels \
    /opt/headway/bin/pip install --no-index --no-deps --force-reinstall --no-cache-dir /wheels/*.whl
ENV PATH=/opt/headway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HEADWAY_DATA_DIR=/data HEADWAY_FILES=file:///files TORCH_HOME=/data/torch \
    HEADWAY_ALIVE_FILE=/tmp/alive
USER headway
WORKDIR /data
STOPSIGNAL SIGTERM
# Touched with each heartbeat that Redis took.
HEALTHCHECK --interval=3s --timeout=3s --start-period=90s \
  CMD ["sh", "-c", "test $(($(date +%s) - $(stat -c %Y /tmp/alive))) -lt 20"]
CMD ["python3", "-m", "workers.main"]
