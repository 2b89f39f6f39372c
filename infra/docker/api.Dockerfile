# The API and the reaper: no torch.
FROM python:3.11-slim-bookworm AS build
RUN python3 -m venv /opt/headway
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
RUN /opt/headway/bin/pip install --no-cache-dir -c requirements.txt .
COPY services services
RUN /opt/headway/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home headway && install -d -o headway -g headway /data /files
COPY --from=build /opt/headway /opt/headway
ENV PATH=/opt/headway/bin:$PATH PYTHONUNBUFFERED=1 HEADWAY_DATA_DIR=/data HEADWAY_FILES=file:///files
USER headway
WORKDIR /data
STOPSIGNAL SIGTERM
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python3", "-m", "services.api"]
