# NeuroQ's images (docs/docker.md):
#   docker build .                         the server with the model that NeuroQ ships, or with your own:
#     --build-arg CHECKPOINT=checkpoints/mine.pt
#   docker build --target server .         the server alone; the archive comes from a volume
#   docker build --target train .          offline training
# CUDA: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, and `--gpus all` when it runs.

# Any Debian or Ubuntu with Python 3.10 or newer.
ARG BASE_IMAGE=debian:bookworm-slim

# --- what every image needs -----------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS base
# hadolint ignore=DL3008  # a base image's security fixes are wanted, not a version that is gone next month
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/*
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    HOME=/tmp
WORKDIR /opt/neuroq

# --- the Python packages that serving needs ---------------------------------------------------------------
FROM base AS venv
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-venv \
 && rm -rf /var/lib/apt/lists/*
# Where torch's wheel comes from; empty: PyPI, whose wheel is CUDA's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/serve.txt requirements/java.txt requirements/
# pip.conf is a mirror's, as a build secret: it never becomes part of an image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/venv \
 && pip install --no-cache-dir --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      -r requirements/serve.txt -r requirements/java.txt

# --- pattern A: the archive of a checkpoint, with the native decoder -----------------------------------------
FROM venv AS archive
COPY model model
COPY handler handler
COPY storage storage
COPY train train
ARG CHECKPOINT=pretrained/neuroq.pt
COPY ${CHECKPOINT} checkpoint.pt
ARG PROFILE=continuous
ARG VERSION=1.0
RUN python -m train.package --checkpoint_path checkpoint.pt --profile "$PROFILE" --version "$VERSION" \
      --output /models/neuroq.mar

# What only building needs goes: pip, headers, the tests of packages.
FROM venv AS runtime
RUN pip uninstall -y --disable-pip-version-check pip \
 && rm -rf /opt/venv/lib/python3*/site-packages/torch/include \
      /opt/venv/lib/python3*/site-packages/torch/share \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} +

# --- offline training ---------------------------------------------------------------------------------------
FROM venv AS train
COPY requirements/train.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --no-cache-dir --disable-pip-version-check -r requirements/train.txt
COPY model model
COPY handler handler
COPY storage storage
COPY train train
COPY corpus corpus
COPY pretrained pretrained
USER 10001:0
# Checkpoints and reports come out here.
WORKDIR /work
ENV PYTHONPATH=/opt/neuroq
ENTRYPOINT ["python", "-m", "train"]

# --- the server alone (pattern B: /models is a volume with neuroq.mar) ---------------------------------------
FROM base AS server
COPY --from=runtime /opt/venv /opt/venv
COPY config.properties ./
COPY storage storage
COPY server server
COPY client client
# Any user id works, with group 0 or a tmpfs at /run/neuroq. The root file system may be read-only.
RUN mkdir -p /models /run/neuroq && chmod 770 /run/neuroq && chown 10001:0 /run/neuroq
# The proxy is what others reach; TorchServe stays on loopback behind it. NEUROQ_TOKEN or NEUROQ_TOKEN_FILE is
# the operator's.
ENV NEUROQ_MODEL_STORE=/models \
    NEUROQ_RUN_DIR=/run/neuroq \
    NEUROQ_PORT=18080 \
    NEUROQ_GRPC_PORT=17070 \
    NEUROQ_PROXY_HOST=0.0.0.0 \
    NEUROQ_PROXY_PORT=8080 \
    NEUROQ_PROXY_GRPC_PORT=7070 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 8080 7070
USER 10001:0
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
  CMD ["python", "-m", "client.health"]
ENTRYPOINT ["python", "-m", "client", "serve", "--foreground"]

# --- the server with its archive (pattern A) -----------------------------------------------------------------
FROM server AS serve
COPY --from=archive /models/neuroq.mar /models/
