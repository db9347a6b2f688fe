// Package statedir is where Ropeway's programs meet: the directories under
// /var/lib/cni, the way files are written there so that a crash or a power cut
// leaves the old or the new content and never half of one, the boot id that
// tells this boot's state from an earlier one's, and node.json, in which the
// daemon tells the plugin about the node.
package statedir
