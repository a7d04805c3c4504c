# The service of `python -m hart.serve`: docker build -t hart . && docker run --rm -p 8000:8000 hart
# On NVIDIA cards: docker build --build-arg DEVICE=cuda -t hart . && docker run --rm --gpus all -p 8000:8000 hart
FROM python:3.12-slim

ARG DEVICE=cpu
WORKDIR /opt/hart

# The large part first: it changes only with constraints.txt. The plain wheel on Linux brings CUDA's libraries along.
COPY constraints.txt .
RUN python -m venv .venv \
 && if [ "$DEVICE" = cpu ]; then index="--index-url https://download.pytorch.org/whl/cpu"; fi \
 && .venv/bin/pip install --no-cache-dir $index "$(grep '^torch==' constraints.txt)"

COPY . .
RUN .venv/bin/pip install --no-cache-dir -c constraints.txt -e ".[serve]"

# Pictures that are asked for as url lie in a temporary folder; nothing else is written.
RUN useradd --create-home hart
USER hart
EXPOSE 8000
ENV HART_HOST=0.0.0.0 HART_PORT=8000
HEALTHCHECK --start-period=60s CMD ["/opt/hart/.venv/bin/python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
# As it stands, so that the signal of `docker stop` reaches the service, which finishes what runs.
ENTRYPOINT [".venv/bin/python", "-m", "hart.serve"]
