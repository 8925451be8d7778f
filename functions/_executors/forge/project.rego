# What no project of the code forge may have. The input is that of the executor `scan`: `files`, documents of JSON and
# YAML by path; `unread`, paths of those that are none, and `texts`, their lines; `dockerfiles`, with their stages;
# `paths` of all files.
package flowc.project

import rego.v1

deny contains message if {
	some path, file in input.dockerfiles
	count(file.stages) == 0
	message := sprintf("%s has no FROM", [path])
}

deny contains message if {
	some path, file in input.dockerfiles
	some stage in file.stages
	stage.base == ""
	stage.image != "scratch"
	not pinned(stage.image)
	message := sprintf("%s takes the image %s, whose version nobody knows", [path, stage.image])
}

deny contains message if {
	some path, file in input.dockerfiles
	last := file.stages[count(file.stages) - 1]
	runs_as_root(last)
	message := sprintf("%s makes an image that runs as root; USER names another one", [path])
}

deny contains message if {
	some path, document in input.files
	walk(document, [place, value])
	count(place) > 0
	place[count(place) - 1] in rights
	value in {true, "true"}
	message := sprintf("%s asks for %s", [path, place[count(place) - 1]])
}

# A template of Helm is no YAML yet.
deny contains message if {
	some path, lines in input.texts
	some line in lines
	some right in rights
	not startswith(trim_space(line), "#")
	regex.match(sprintf(`(^|[^A-Za-z0-9_])%s[^A-Za-z0-9_]*:[^A-Za-z0-9_]*true`, [right]), line)
	message := sprintf("%s asks for %s", [path, right])
}

deny contains message if {
	some path in input.unread
	not input.texts[path]
	message := sprintf("%s is too long to be looked at", [path])
}

deny contains "the project has no licence: a file LICENSE" if not licensed

licensed if {
	some path in input.paths
	regex.match(`^((un)?licen[cs]e|copying)([.-][^/]*)?$|^licenses/`, lower(path))
}

rights := {"privileged", "hostNetwork", "hostPID", "hostIPC", "allowPrivilegeEscalation"}

pinned(image) if contains(image, "@sha256:")

pinned(image) if {
	parts := split(image, "/")
	named := split(parts[count(parts) - 1], ":")
	count(named) == 2
	not named[1] in {"", "latest"}
	not contains(image, "$")
}

runs_as_root(stage) if {
	stage.user == ""
	not endswith(stage.image, "nonroot")
}

runs_as_root(stage) if regex.match(`^(root|[+-]?0+)(:.*)?$`, stage.user)

runs_as_root(stage) if contains(stage.user, "$")
