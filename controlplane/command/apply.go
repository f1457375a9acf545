package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/file"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// The bounds of one request of an apply, below those of the API.
const (
	applyObjects = 5000
	applyBytes   = 16 << 20
)

func applyCommand() *cobra.Command {
	var server, output string
	var files []string
	var dryRun bool
	c := &cobra.Command{
		Use: "apply -f FILE|DIR|-", Short: "Put objects into the control plane's store", Args: noArgs,
		Long: "Put the objects of files, of folders of .yaml and .yml files, or of the standard input into the control plane's store.\n" +
			"All files are checked before anything is sent. The objects of one kind are applied all or nothing\n" +
			"(in parts of " + strconv.Itoa(applyObjects) + ", where there are more). What is not in the files stays as it is.",
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return run.Usage(errors.New("apply: say which files, with -f FILE, -f DIR or -f - for the standard input"))
			}
			out, err := newOutput(output, c.OutOrStdout())
			if err != nil {
				return err
			}
			cl, err := newClient(server)
			if err != nil {
				return err
			}
			docs, err := readDocuments(files, c.InOrStdin())
			if err != nil {
				return err
			}
			return apply(c.Context(), cl, docs, dryRun, out, c.ErrOrStderr())
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "`file`, folder, or - for the standard input; may be given several times")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	withOutput(c, &output)
	return withServer(c, &server)
}

// readDocuments reads the objects of all files, or says everything that is
// wrong with them.
func readDocuments(paths []string, stdin io.Reader) ([]object.Document, error) {
	var docs []object.Document
	var errs []error
	take := func(name string, data []byte, err error) {
		if err == nil {
			var found []object.Document
			found, err = object.ParseDocuments(name, data)
			docs = append(docs, found...)
		}
		errs = append(errs, err)
	}
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(io.LimitReader(stdin, conf.MaxSize+1))
			take("stdin", data, err)
			continue
		}
		names, err := file.Files(path)
		errs = append(errs, err)
		for _, name := range names {
			data, err := file.Read(name)
			take(name, data, err)
		}
	}
	var objects []object.Object
	for _, d := range docs {
		objects = append(objects, d.Object)
	}
	for _, d := range object.Duplicates(objects) {
		errs = append(errs, d.Error())
	}
	if err := conf.Join(errs...); err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("there are no objects in %s", strings.Join(paths, ", "))
	}
	return docs, nil
}

// applyBody is the body of an apply. The API has the fields that are not here.
type applyBody struct {
	DryRun bool              `json:"dryRun"`
	Put    []json.RawMessage `json:"put"`
}

// applyResult is what became of the objects of one kind.
type applyResult struct {
	Kind string `json:"kind"` // its plural
	api.Applied
}

// apply sends the objects, kind by kind, what is referred to first.
func apply(ctx context.Context, c *client, docs []object.Document, dryRun bool, out *output, stderr io.Writer) error {
	var results []applyResult
	for _, k := range object.Kinds {
		total := applyResult{Kind: k.Plural}
		var sent []object.Document
		body, size := applyBody{DryRun: dryRun}, 0
		send := func() error {
			if len(sent) == 0 {
				return nil
			}
			var one api.Applied
			err := c.call(ctx, http.MethodPost, "/v1/"+k.Plural+":apply", body, &one)
			if err != nil {
				return placed(err, sent)
			}
			one.Changed += total.Changed
			one.Unchanged += total.Unchanged
			one.Warnings = append(total.Warnings, one.Warnings...)
			total.Applied = one
			sent, body.Put, size = nil, nil, 0
			return nil
		}
		for _, d := range docs {
			if d.Object.Metadata().Kind != k.Name {
				continue
			}
			data, err := d.Canonical()
			if err != nil {
				return err
			}
			if len(sent) == applyObjects || size+len(data) > applyBytes {
				if err := send(); err != nil {
					return err
				}
			}
			sent, body.Put, size = append(sent, d), append(body.Put, data), size+len(data)
		}
		if err := send(); err != nil {
			return err
		}
		if total.Revision != "" {
			results = append(results, total)
		}
	}
	for _, r := range results {
		for _, w := range r.Warnings {
			fmt.Fprintln(stderr, "warning:", w)
		}
	}
	if !out.table() {
		return out.print(map[string]any{"applied": results})
	}
	t := newTable("KIND", "CHANGED", "UNCHANGED", "REVISION")
	for _, r := range results {
		revision := r.Revision
		if r.DryRun {
			revision += " (dry run)"
		}
		t.add(plain(r.Kind), plain(strconv.Itoa(r.Changed)), plain(strconv.Itoa(r.Unchanged)), plain(revision))
	}
	return t.write(out)
}

// putPath is how the API calls a place in what was put.
var putPath = regexp.MustCompile(`^put\[(\d+)\]\.?(.*)$`)

// placed gives the mistakes that the API has found their places in the files.
func placed(err error, sent []object.Document) error {
	refused, ok := errors.AsType[*api.Error](err)
	if !ok || len(refused.Details) == 0 {
		return err
	}
	var mistakes conf.Errors
	for _, d := range refused.Details {
		m := &conf.Error{Msg: d.Path + ": " + d.Message}
		if found := putPath.FindStringSubmatch(d.Path); found != nil {
			if i, err := strconv.Atoi(found[1]); err == nil && i < len(sent) {
				m.Pos = sent[i].Node.At(found[2]).Pos()
				m.Msg = strings.TrimPrefix(found[2]+": "+d.Message, ": ")
			}
		}
		mistakes = append(mistakes, m)
	}
	return mistakes
}

func deleteCommand() *cobra.Command {
	var server, namespace string
	c := &cobra.Command{
		Use: "delete KIND NAME", Short: "Take an object out of the control plane's store",
		Args: exactArgs(2, "delete needs a kind and a name, as in: delete meshservice orders"),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := objectKind(args[0])
			if err != nil {
				return err
			}
			key, err := objectKey(k, namespace, args[1])
			if err != nil {
				return err
			}
			cl, err := newClient(server)
			if err != nil {
				return err
			}
			var done api.Applied
			if err := cl.call(c.Context(), http.MethodDelete, "/v1/"+k.Plural+"/"+key, nil, &done); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s %s is deleted (revision %s)\n", k.Name, key, done.Revision)
			return err
		},
	}
	withNamespace(c, &namespace)
	return withServer(c, &server)
}

// objectKind finds the kind that a word means: meshservice, MeshServices, …
func objectKind(word string) (object.Kind, error) {
	k, ok := object.KindOf(word)
	if !ok {
		var known []string
		for _, k := range object.Kinds {
			known = append(known, k.Plural)
		}
		return k, run.Usage(fmt.Errorf("%q is no kind of object: known are %s", word, strings.Join(known, ", ")))
	}
	return k, nil
}

// objectKey is the key of an object that was named on the command line: name,
// or namespace/name.
func objectKey(k object.Kind, namespace, name string) (string, error) {
	key := name
	switch {
	case k.Global && namespace != "":
		return "", run.Usage(fmt.Errorf("--namespace: a %s has none", k.Name))
	case !k.Global && !strings.Contains(name, "/"):
		if namespace == "" {
			namespace = defaultNamespace
		}
		key = namespace + "/" + name
	case !k.Global && namespace != "":
		return "", run.Usage(fmt.Errorf("--namespace: %q names its namespace already", name))
	}
	id, err := k.ParseKey(key)
	if err != nil {
		return "", run.Usage(err)
	}
	return id.Key(), nil
}

// stdoutFile is the file that w is, nil if it is none.
func stdoutFile(w io.Writer) *os.File {
	f, _ := w.(*os.File)
	return f
}
