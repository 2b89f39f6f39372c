# A worker: torch as the index gives it (on Linux, the CUDA build).
FROM python:3.11-slim-bookworm AS build
RUN python3 -m venv /opt/headway
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
RUN /opt/headway/bin/pip install --no-cache-dir -c requirements.txt '.[worker]'
COPY services services
COPY workers workers
RUN /opt/headway/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home headway && install -d -o headway -g headway /data /files
COPY --from=build /opt/headway /opt/headway
ENV PATH=/opt/headway/bin:$PATH PYTHONUNBUFFERED=1 HEADWAY_DATA_DIR=/data HEADWAY_FILES=file:///files TORCH_HOME=/data/torch
USER headway
WORKDIR /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-m", "workers.main", "--check"]
CMD ["python3", "-m", "workers.main"]
