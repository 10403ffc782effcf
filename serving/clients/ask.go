// Asks a served model over REST; needs Go 1.18 or later and its standard library alone.
//
//	go run ask.go reviews "A film to remember." "Dull."
//	go run ask.go -signature generate -set temperature=0.8 -set seed=1 story "Once upon a time"
//	go run ask.go -label stable -address https://localhost:8443 -ca certificate.pem reviews "A film to remember."
//
// Over REST every input of a signature must be set; those that have a default are filled in from the server's metadata.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"
)

// settings collects -set NAME=VALUE; a value is JSON.
type settings map[string]json.RawMessage

func (given settings) String() string { return fmt.Sprint(len(given)) }

func (given settings) Set(pair string) error {
	name, value, found := strings.Cut(pair, "=")
	if !found || !json.Valid([]byte(value)) {
		return fmt.Errorf("an input is set as NAME=VALUE, the value in JSON; received %q", pair)
	}
	given[name] = json.RawMessage(value)
	return nil
}

// metadata is the part of the reply of .../metadata that names a signature's inputs and their defaults.
type metadata struct {
	Metadata struct {
		SignatureDef struct {
			SignatureDef map[string]struct {
				Inputs   map[string]json.RawMessage            `json:"inputs"`
				Defaults map[string]map[string]json.RawMessage `json:"defaults"`
			} `json:"signature_def"`
		} `json:"signature_def"`
	} `json:"metadata"`
}

// place is where a model, or the version of it that a label names, is asked.
func place(address, model, label string) string {
	target := address + "/v1/models/" + url.PathEscape(model)
	if label != "" {
		target += "/labels/" + url.PathEscape(label)
	}
	return target
}

// fetch puts the server's reply into result; the error has the server's own words when it refuses.
func fetch(client *http.Client, target string, body, result any) error {
	var reply *http.Response
	var err error
	if body == nil {
		reply, err = client.Get(target)
	} else {
		var sent []byte
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
		reply, err = client.Post(target, "application/json", bytes.NewReader(sent))
	}
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %d: %s", reply.StatusCode, text)
	}
	return json.Unmarshal(text, result)
}

// inputsOf names a signature's inputs, and the defaults of those that have one.
func inputsOf(client *http.Client, target, signature string) ([]string, settings, error) {
	var told metadata
	if err := fetch(client, target+"/metadata", nil, &told); err != nil {
		return nil, nil, err
	}
	signatures := told.Metadata.SignatureDef.SignatureDef
	chosen, found := signatures[signature]
	if !found {
		return nil, nil, fmt.Errorf("there is no signature %s; there are %s", signature, sortedNames(signatures))
	}
	names := []string{}
	for name := range chosen.Inputs {
		names = append(names, name)
	}
	defaults := settings{}
	for name, tensor := range chosen.Defaults {
		for field, raw := range tensor {
			var values []json.RawMessage
			if !strings.HasSuffix(field, "_val") || json.Unmarshal(raw, &values) != nil || len(values) == 0 {
				continue
			}
			value, err := plain(field, values[0])
			if err != nil {
				return nil, nil, err
			}
			defaults[name] = value
		}
	}
	return names, defaults, nil
}

// plain is a default's value: protobuf's JSON writes text in base64, and long integers as strings.
func plain(field string, value json.RawMessage) (json.RawMessage, error) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return value, nil
	}
	if field != "string_val" {
		return json.RawMessage(text), nil
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(decoded))
}

func sortedNames[V any](values map[string]V) string {
	names := []string{}
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// trusting is a client that trusts the certificates of a PEM file, or those of the system where none is named.
func trusting(ca string, timeout time.Duration) (*http.Client, error) {
	client := &http.Client{Timeout: timeout}
	if ca == "" {
		return client, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	return client, nil
}

func run() error {
	given := settings{}
	address := flag.String("address", "http://127.0.0.1:8501", "the server's REST address")
	signature := flag.String("signature", "serving_default", "the signature to ask")
	label := flag.String("label", "", "a label of a version, such as stable")
	ca := flag.String("ca", "", "a PEM file of the certificates to trust, for https")
	timeout := flag.Duration("timeout", 30*time.Second, "the time that a reply may take")
	flag.Var(given, "set", "an input besides the text, NAME=VALUE; may be repeated")
	flag.Parse()
	if flag.NArg() < 2 {
		return errors.New("usage: go run ask.go [flags] MODEL TEXT...")
	}
	client, err := trusting(*ca, *timeout)
	if err != nil {
		return err
	}
	target := place(*address, flag.Arg(0), *label)
	names, row, err := inputsOf(client, target, *signature)
	if err != nil {
		return err
	}
	for name, value := range given {
		row[name] = value
	}
	left := []string{}
	for _, name := range names {
		if _, isSet := row[name]; !isSet {
			left = append(left, name)
		}
	}
	if len(left) != 1 {
		sort.Strings(left)
		return fmt.Errorf("set every input but the text; left are: %s", strings.Join(left, ", "))
	}
	instances := []settings{}
	for _, text := range flag.Args()[1:] {
		encoded, err := json.Marshal(text)
		if err != nil {
			return err
		}
		instance := settings{left[0]: encoded}
		for name, value := range row {
			instance[name] = value
		}
		instances = append(instances, instance)
	}
	var reply struct {
		Predictions []json.RawMessage `json:"predictions"`
	}
	body := map[string]any{"signature_name": *signature, "instances": instances}
	if err := fetch(client, target+":predict", body, &reply); err != nil {
		return err
	}
	for _, answer := range reply.Predictions {
		var line bytes.Buffer
		if err := json.Compact(&line, answer); err != nil {
			return err
		}
		fmt.Println(line.String())
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
