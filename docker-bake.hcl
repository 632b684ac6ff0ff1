# All images at once: `docker buildx bake`; for a registry: `REGISTRY=registry.example.com/team/ TAG=1.2.3 docker buildx bake --push`.

variable "REGISTRY" { default = "" }
variable "TAG" { default = "0.2.0" }
variable "REVISION" { default = "unknown" }
variable "PLATFORMS" { default = "" } # such as "linux/amd64,linux/arm64"

group "default" {
  targets = ["operator", "worker", "gateway"]
}

target "image" {
  name       = part
  matrix     = { part = ["operator", "worker", "gateway"] }
  context    = "."
  dockerfile = "Dockerfile"
  target     = part
  tags       = ["${REGISTRY}agentpool-${part}:${TAG}"]
  platforms  = PLATFORMS == "" ? [] : split(",", PLATFORMS)
  args = {
    VERSION  = TAG
    REVISION = REVISION
  }
}
