# A server of bimba: docker build -t bimba . for a CPU; with CUDA:
#   docker build -t bimba:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# compose.yaml runs either. Versions are those of constraints.txt, as everywhere.
FROM python:3.11-slim-bookworm

# Where torch comes from: its CPU build, or one for CUDA, which brings all of CUDA that it needs along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

WORKDIR /build
COPY constraints.txt ./
RUN grep '^torch==' constraints.txt > torch.txt \
    && pip install --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple -r torch.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY recipes ./recipes
COPY src ./src
# torch itself is there: a local version, such as 2.13.0+cpu, satisfies the constraint.
RUN pip install -c constraints.txt ".[serve]" \
    && rm -rf /build

# Nobody in particular: what decodes the files of strangers owns nothing but the store.
RUN useradd --create-home --home-dir /srv/bimba --uid 10001 bimba \
    && mkdir /store /media-root \
    && chown bimba /store
USER 10001
WORKDIR /srv/bimba
VOLUME /store
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# Inside of a container only 0.0.0.0 is reached from outside, so that a key is needed: BIMBA_API_KEY.
ENTRYPOINT ["bimba", "serve", "--host", "0.0.0.0", "--port", "8000", "--store", "/store", "--media-root", "/media-root"]
