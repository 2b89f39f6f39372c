# API, reaper and autoscaler: no torch. Build from the repository's root.
FROM python:3.11-slim-bookworm AS dependencies
RUN python3 -m venv /opt/headway
WORKDIR /src
RUN touch README.md LICENSE
COPY pyproject.toml requirements.txt ./
# A layer of its own, as it changes seldom: the locked dependencies.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/headway/bin/pip install --disable-pip-version-check -c requirements.txt '.[compose,traces]'

FROM dependencies AS code
COPY README.md LICENSE ./
COPY services services
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/headway/bin/pip wheel --disable-pip-version-check --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="headway-api" \
      org.opencontainers.image.description="Headway's API, reaper and autoscaler" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home headway \
 && install -d -o headway -g headway /data /files /keys
COPY --from=dependencies /opt/headway /opt/headway
RUN --mount=from=code,source=/wheels,target=/wheels \
    /opt/headway/bin/pip install --no-index --no-deps --force-reinstall --no-cache-dir /wheels/*.whl
ENV PATH=/opt/headway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HEADWAY_DATA_DIR=/data HEADWAY_FILES=file:///files \
    HEADWAY_ALIVE_FILE=/tmp/alive
USER headway
WORKDIR /data
STOPSIGNAL SIGTERM
EXPOSE 8000
HEALTHCHECK --interval=3s --timeout=3s --start-period=15s \
  CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/healthz'); assert c.getresponse().status == 200"]
CMD ["python3", "-m", "services.api"]
