#!/bin/sh
# Make the secrets of the Compose files: a file for each process, in the folder `secrets` beside them.
#
#   tools/compose/make-secrets.sh
#
# Passwords that exist stay. What is made of them, such as URLs, is written again: run it after each change.
# The key of jina-vlm: write it into secrets/jina_api_key, then run this again.
set -eu
umask 077
root=$(cd "$(dirname "$0")/../.." && pwd)
secrets=${1:-$root/secrets}
mkdir -p "$secrets/tls"
# Containers run as other users and read the files themselves; on this machine the folder lets nobody else through.
chmod 700 "$secrets" "$secrets/tls"
cd "$secrets"

# Letters and digits only: the words become parts of URLs, TOML, YAML and Redis' ACL.
random() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
checked() {
    case $(cat "$1") in
    *[!A-Za-z0-9_-]* | "") echo "secrets/$1 must hold letters, digits, _ and - only, on one line." >&2; exit 2 ;;
    esac
    cat "$1"
}
made() {
    [ -s "$1" ] || random >"$1"
    checked "$1"
}

elastic=$(made elastic_password)
kibana=$(made kibana_password)
kibana_key=$(made kibana_key)
worker=$(made worker_password)
redis_worker=$(made redis_worker_password)
redis_beat=$(made redis_beat_password)
serve=$(made serve_secret)
model=
[ ! -s jina_api_key ] || model=$(checked jina_api_key)

# The worker administers nothing in Redis. The beat only puts ticks into the lane `control`. The check of health may only
# ping, so its password protects nothing.
cat >redis.acl <<END
user default off resetpass
user health on >health -@all +ping
user worker on >$redis_worker ~* &* +@all -@admin -@dangerous +info
user beat on >$redis_beat -@all ~pagesight:control ~pagesight:epoch ~pagesight:_kombu.binding* +@connection +@transaction +get +set +llen +lpush +rpush +smembers +sadd
END

# For each process one file, which PAGESIGHT_CONFIG names.
process() { # folder, scheme
    cat >"$1/worker.toml" <<END
elasticsearch_url = "$2://pagesight-worker:$worker@elasticsearch:9200"
redis_url = "redis://worker:$redis_worker@redis:6379/0"
serve_secret = "$serve"
END
    [ -z "$model" ] || echo "vlm_api_key = \"$model\"" >>"$1/worker.toml"
    cat >"$1/install.toml" <<END
elasticsearch_url = "$2://elastic:$elastic@elasticsearch:9200"
kibana_url = "http://elastic:$elastic@kibana:5601"
END
    cat >"$1/kibana.yml" <<END
server.host: "0.0.0.0"
server.shutdownTimeout: "5s"
elasticsearch.hosts: ["$2://elasticsearch:9200"]
elasticsearch.username: "kibana_system"
elasticsearch.password: "$kibana"
# Without a lasting key alert rules could not run after a restart.
xpack.encryptedSavedObjects.encryptionKey: "$kibana_key"
END
}
process . http
process tls https
echo 'elasticsearch.ssl.certificateAuthorities: ["/trust/ca.crt"]' >>tls/kibana.yml
echo "redis_url = \"redis://beat:$redis_beat@redis:6379/0\"" >beat.toml
echo "serve_secret = \"$serve\"" >serve.toml

find . -type f -exec chmod 444 {} +
# Run again, this script must be able to write them.
chmod u+w ./* tls/*
echo "The secrets are in $secrets."
