# dockwarden on every Nomad client that runs Docker. The client's plugin "docker" needs `volumes { enabled = true }`, as
# the socket is a path of the host. nomad job run -var image=... -var docker_gid=$(stat -c %g /var/run/docker.sock) ...
variable "image" {
  type = string
}

variable "docker_gid" {
  type        = string
  description = "The number of the group of the socket, the same on all clients."
}

job "dockwarden" {
  type = "system"

  constraint {
    attribute = "${attr.driver.docker}"
    value     = "1"
  }

  update {
    max_parallel     = 1
    min_healthy_time = "30s"
    healthy_deadline = "2m"
  }

  group "dockwarden" {
    network {
      port "http" {
        static = 9877
        to     = 9877
      }
    }

    service {
      name     = "dockwarden"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/healthz"
        interval = "10s"
        timeout  = "5s"
      }
    }

    task "dockwarden" {
      driver       = "docker"
      user         = "10001:${var.docker_gid}"
      kill_timeout = "45s"

      config {
        image           = var.image
        hostname        = "${node.unique.name}"
        ports           = ["http"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        pids_limit      = 256

        volumes = [
          "/var/run/docker.sock:/var/run/docker.sock",
          "local/dockwarden.yaml:/etc/dockwarden/dockwarden.yaml:ro",
        ]

        # A volume of the engine, which outlives allocations: each client remembers what it saw.
        mount {
          type   = "volume"
          source = "dockwarden-state"
          target = "/var/lib/dockwarden"
        }

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }

        labels = {
          "dockwarden.skip"        = "host-namespaces"
          "dockwarden.skip.reason" = "it asks the engine by its socket"
        }
      }

      # Another text is another version of the job, and is rolled out as one.
      template {
        destination = "local/dockwarden.yaml"
        data        = <<-YAML
          allow: audit
          web: {running_image_info: 500}
          log: {format: json}
        YAML
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }
}
