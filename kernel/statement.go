package kernel

// Statement is one match or action of a [Rule]. The types below are all there
// are; each is comparable and prints as nft writes it.
type Statement interface {
	String() string
}

// Field says which address of a packet a [InSet] looks at.
type Field string

// The address fields.
const (
	Saddr Field = "saddr"
	Daddr Field = "daddr"
)

// FromPodLink matches packets that enter through the host end of a pod link.
type FromPodLink struct{}

func (FromPodLink) String() string { return `iifname "` + PodLinkPrefix + `*"` }
