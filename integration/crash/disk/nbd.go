package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// The network block device protocol, as far as qemu's client needs it: see
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
const (
	nbdMagic        = 0x4e42444d41474943
	nbdOptionMagic  = 0x49484156454f5054
	nbdReplyMagic   = 0x3e889045565a9
	nbdRequestMagic = 0x25609513
	nbdAnswerMagic  = 0x67446698

	nbdFixedNewstyle = 1

	nbdOptionGo = 7

	nbdReplyAck         = 1
	nbdReplyInfo        = 3
	nbdReplyUnsupported = 1<<31 + 1

	nbdHasFlags  = 1
	nbdSendFlush = 4

	nbdRead       = 0
	nbdWrite      = 1
	nbdDisconnect = 2
	nbdFlush      = 3

	nbdIOError = 5
	nbdInvalid = 22

	// nbdLongest bounds what a client may ask for at once.
	nbdLongest = 32 << 20
)

// ServeNBD serves the disk to one client until that disconnects or dies.
func (d *Disk) ServeNBD(client net.Conn) error {
	s := nbdServer{d, client}
	err := s.negotiate()
	if err == nil {
		err = s.transmit()
	}
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			err = nil // its power was cut
		}
	}
	return errors.Join(err, client.Close())
}

type nbdServer struct {
	disk   *Disk
	client net.Conn
}

func (s nbdServer) send(values ...any) error {
	var b []byte
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.BigEndian, v); err != nil {
			return err
		}
	}
	_, err := s.client.Write(b)
	return err
}

func (s nbdServer) receive(into any) error { return binary.Read(s.client, binary.BigEndian, into) }

func (s nbdServer) negotiate() error {
	if err := s.send(uint64(nbdMagic), uint64(nbdOptionMagic), uint16(nbdFixedNewstyle)); err != nil {
		return err
	}
	var flags uint32
	if err := s.receive(&flags); err != nil {
		return err
	}
	for {
		var option struct {
			Magic        uint64
			Kind, Length uint32
		}
		if err := s.receive(&option); err != nil {
			return err
		}
		if option.Magic != nbdOptionMagic || option.Length > 4096 {
			return fmt.Errorf("nbd: bad option %x of %d bytes", option.Magic, option.Length)
		}
		if _, err := io.CopyN(io.Discard, s.client, int64(option.Length)); err != nil {
			return err
		}
		if option.Kind != nbdOptionGo {
			if err := s.reply(option.Kind, nbdReplyUnsupported, nil); err != nil {
				return err
			}
			continue
		}
		export := binary.BigEndian.AppendUint16(nil, 0) // what follows is about the export
		export = binary.BigEndian.AppendUint64(export, uint64(s.disk.Size()))
		export = binary.BigEndian.AppendUint16(export, nbdHasFlags|nbdSendFlush)
		return errors.Join(s.reply(option.Kind, nbdReplyInfo, export), s.reply(option.Kind, nbdReplyAck, nil))
	}
}

func (s nbdServer) reply(option, kind uint32, data []byte) error {
	return s.send(uint64(nbdReplyMagic), option, kind, uint32(len(data)), data)
}

// nbdRequest is what a client asks for; the data of a write follow.
type nbdRequest struct {
	Magic       uint32
	Flags, Kind uint16
	Handle      uint64
	Offset      uint64
	Length      uint32
}

func (s nbdServer) transmit() error {
	for {
		var r nbdRequest
		if err := s.receive(&r); err != nil {
			return err
		}
		if r.Magic != nbdRequestMagic || r.Length > nbdLongest {
			return fmt.Errorf("nbd: bad request %x of %d bytes", r.Magic, r.Length)
		}
		if r.Kind == nbdDisconnect {
			return nil
		}
		if err := s.answer(r); err != nil {
			return err
		}
	}
}

func (s nbdServer) answer(r nbdRequest) error {
	var code uint32
	var data []byte
	switch r.Kind {
	case nbdRead:
		data = make([]byte, r.Length)
		if n, _ := s.disk.ReadAt(data, int64(r.Offset)); n < len(data) {
			code, data = nbdInvalid, nil
		}
	case nbdWrite:
		written := make([]byte, r.Length)
		if _, err := io.ReadFull(s.client, written); err != nil {
			return io.EOF // the write was cut off: it never came
		}
		if _, err := s.disk.WriteAt(written, int64(r.Offset)); err != nil {
			code = nbdIOError
		}
	case nbdFlush:
		s.disk.Flush()
	default:
		code = nbdInvalid
	}
	return s.send(uint32(nbdAnswerMagic), code, r.Handle, data)
}
